import * as tf from "@tensorflow/tfjs";
import { EngineUnavailableError } from "../errors.ts";
import { loadFailure, messageOf } from "./load-failure.ts";
import { type DawnOptions, provideDawn } from "./node-webgpu.ts";
import { importTfjsNode } from "./tfjs-node.ts";

/** The tfjs backends that an eager engine runs on. */
export const TFJS_BACKENDS = ["cpu", "wasm", "webgl", "webgpu", "tensorflow"] as const;
export type TfjsBackend = (typeof TFJS_BACKENDS)[number];

export interface LoadBackendOptions extends DawnOptions {
  /** Where the browser finds tfjs' .wasm files: a folder's URL ending in "/", or a URL for each file name. */
  readonly wasmPaths?: string | Record<string, string>;
  /** Threads of the wasm backend in browsers; default all cores, at most 8. Needs a cross-origin isolated page. */
  readonly threads?: number;
  /** Which build of tfjs-node `tensorflow` means; `auto` takes the GPU build when it is installed. */
  readonly tfjsNode?: "auto" | "cpu" | "gpu";
}

/** Whether this runs in Node (or what passes for it), not in a browser. */
export const isNode = (): boolean => typeof process === "object" && typeof process.versions?.node === "string";

/** Imports, registers and initialises a tfjs backend without making it the active one. */
export async function loadTfjsBackend(name: TfjsBackend, options: LoadBackendOptions = {}): Promise<void> {
  if (!TFJS_BACKENDS.includes(name)) {
    throw new Error(`createEagerEngine: backend (${name}) is unknown; expected one of ${TFJS_BACKENDS.join(", ")}`);
  }
  if (name in tf.engine().registry) return;
  await register(name, options);
  const factory = tf.findBackendFactory(name);
  if (!factory) throw new EngineUnavailableError(`tfjs:${name} cannot be had: ${whyUnregistered(name)}`);
  // tfjs would leave itself without any usable backend while one initialises, and print a failure instead of throwing
  // it. So the factory is called here, and tfjs gets the finished backend.
  let backend: tf.KernelBackend;
  try {
    backend = await factory();
  } catch (error) {
    throw new EngineUnavailableError(`tfjs:${name} cannot be had: it failed to start (${messageOf(error)})`, {
      cause: error,
    });
  }
  if (name in tf.engine().registry) return; // Another call was faster.
  const priority = name === "webgpu" || name === "tensorflow" ? 3 : 2;
  tf.removeBackend(name);
  tf.registerBackend(name, () => backend, priority);
  tf.findBackend(name); // Initialises it: the factory is synchronous now.
}

async function register(name: TfjsBackend, options: LoadBackendOptions): Promise<void> {
  if (name === "wasm") {
    const wasm = await importOptional("@tensorflow/tfjs-backend-wasm", () => import("@tensorflow/tfjs-backend-wasm"));
    if (options.wasmPaths !== undefined) wasm.setWasmPaths(options.wasmPaths);
    // An upper bound: tfjs takes fewer where it sees fewer cores (one of two, in Chromium).
    const cores = isNode() ? 1 : (globalThis.navigator?.hardwareConcurrency ?? 1);
    wasm.setThreadsCount(options.threads ?? Math.min(cores, 8));
  } else if (name === "webgpu") {
    if (isNode()) await provideDawn(options);
    await importOptional("@tensorflow/tfjs-backend-webgpu", () => import("@tensorflow/tfjs-backend-webgpu"));
    await assertAdapter();
  } else if (name === "tensorflow") {
    await importTfjsNode(options.tfjsNode ?? "auto");
  }
}

/** Imports an optional peer; its absence becomes a sentence that says what to install. */
async function importOptional<M>(specifier: string, load: () => Promise<M>): Promise<M> {
  try {
    return await load();
  } catch (error) {
    throw new EngineUnavailableError(
      `${specifier} ${loadFailure(specifier, error)}; install it with: npm install ${specifier}@4.22.0`,
      { cause: error },
    );
  }
}

async function assertAdapter(): Promise<void> {
  const gpu = typeof navigator === "object" ? navigator.gpu : undefined;
  if (!gpu) throw new EngineUnavailableError(`tfjs:webgpu cannot be had: ${whyUnregistered("webgpu")}`);
  if (!(await gpu.requestAdapter())) {
    throw new EngineUnavailableError(
      "tfjs:webgpu cannot be had: WebGPU is there but found no adapter; install a Vulkan, Metal or Direct3D 12 driver of the GPU",
    );
  }
}

function whyUnregistered(name: TfjsBackend): string {
  if (name === "webgl") return isNode() ? "WebGL exists in browsers only" : "this browser has no WebGL";
  if (name === "webgpu")
    return "navigator.gpu is missing; use a browser with WebGPU, on a page served by https or localhost";
  return "its package did not register it";
}
