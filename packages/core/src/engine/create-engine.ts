import { EngineUnavailableError } from "../errors.ts";
import { createEagerEngine } from "./eager-engine.ts";
import type { Device, Engine } from "./engine.ts";
import { loadFailure, messageOf } from "./load-failure.ts";
import { mayHaveNvidiaDriver } from "./nvidia-driver.ts";
import { isNode, TFJS_BACKENDS, type TfjsBackend } from "./tfjs-backends.ts";

export const DEVICES = ["auto", "cpu", "wasm", "webgl", "webgpu", "cuda", "coreml", "dml"] as const satisfies Device[];
const RUNTIMES = ["onnx", "tfjs"] as const;
const ONNX_DEVICES = ["cpu", "wasm", "webgpu", "cuda", "coreml", "dml"] as const;

/** A compiling engine (ONNX Runtime) or an eager one (tfjs). */
export type Runtime = (typeof RUNTIMES)[number];

export interface CreateEngineOptions {
  /** What to compute on; default `auto`, the fastest that works here. */
  readonly device?: Device;
  /** Takes engines of one runtime only. */
  readonly runtime?: Runtime;
  /** In browsers: where tfjs' .wasm files are; a folder's URL ending in "/", or a URL for each file name. */
  readonly wasmPaths?: string | Record<string, string>;
  /** In browsers: where onnxruntime-web's .wasm files are, in the same two forms. */
  readonly onnxWasmPaths?: string | Record<string, string>;
  /** Threads of one operator on onnx:cpu, and of onnx:wasm and tfjs:wasm in browsers; default all cores. */
  readonly threads?: number;
  /** In Node: Dawn's own switches for `tfjs:webgpu`, such as `["adapter=SwiftShader"]`. */
  readonly dawnOptions?: readonly string[];
}

/**
 * Creates the best engine that works here.
 *
 * `createEngine()` and `createEngine({ device })` try engines from the fastest to the slowest; a full name such as
 * `createEngine("tfjs:wasm", { wasmPaths })` takes that one or throws. In Node, compiled engines come
 * first and `auto` prefers an NVIDIA GPU; in browsers, WebGPU comes before WebAssembly, WebGL and plain JavaScript.
 *
 * @throws EngineUnavailableError, saying in one sentence what is missing and what to install
 */
export async function createEngine(
  wanted: CreateEngineOptions | string = {},
  more: Omit<CreateEngineOptions, "device" | "runtime"> = {},
): Promise<Engine> {
  const options: CreateEngineOptions = typeof wanted === "string" ? more : { ...wanted, ...more };
  const names =
    typeof wanted === "string" ? [parseName(wanted)] : candidates(options.device ?? "auto", options.runtime);
  const failures: { name: string; reason: string; cause: unknown }[] = [];
  for (const name of names) {
    try {
      return await createNamed(name, options);
    } catch (error) {
      if (!(error instanceof EngineUnavailableError)) throw error;
      failures.push({ name, reason: shortReason(name, error), cause: error });
    }
  }
  const device = typeof wanted === "string" ? wanted : (options.device ?? "auto");
  throw new EngineUnavailableError(unavailable(device, failures), { cause: failures.at(-1)?.cause });
}

/** Creates the engine of that full name and no other. */
export async function createNamed(name: string, options: CreateEngineOptions = {}): Promise<Engine> {
  const [runtime, device] = name.split(":") as [Runtime, string];
  if (runtime === "onnx") return createOnnx(device, options);
  const cuda = options.device === "cuda";
  const { wasmPaths, dawnOptions, threads } = options;
  const engine = await createEagerEngine(device as TfjsBackend, {
    ...(wasmPaths === undefined ? {} : { wasmPaths }),
    ...(dawnOptions === undefined ? {} : { dawnOptions }),
    ...(threads === undefined ? {} : { threads }),
    tfjsNode: cuda ? "gpu" : options.device === "cpu" ? "cpu" : "auto",
  });
  if (cuda && !(await usesGpu())) {
    throw new EngineUnavailableError(
      "tfjs:tensorflow runs on the CPU: tfjs-node-gpu found no CUDA 11.2 with cuDNN 8.1",
    );
  }
  return engine;
}

interface OnnxModule {
  createOnnxEngine?: (options: {
    device: string;
    threads?: number;
    wasmPaths?: string | Record<string, string>;
  }) => Promise<Engine>;
}

async function createOnnx(device: string, { threads, onnxWasmPaths }: CreateEngineOptions): Promise<Engine> {
  if (device === "cuda" && !(await mayHaveNvidiaDriver())) {
    throw new EngineUnavailableError("onnx:cuda cannot be had: no NVIDIA driver is running on this machine");
  }
  let onnx: OnnxModule;
  try {
    // The specifier stays a literal in the emitted code, so that bundlers see the optional peer; the cast keeps the type
    // checker from following it: @genai/onnx is built on this package.
    onnx = (await import("@genai/onnx" as string)) as OnnxModule;
  } catch (error) {
    throw new EngineUnavailableError(
      `@genai/onnx ${loadFailure("@genai/onnx", error)}; install it with: npm install @genai/onnx ${isNode() ? "onnxruntime-node" : "onnxruntime-web"}`,
      { cause: error },
    );
  }
  if (typeof onnx.createOnnxEngine !== "function") {
    throw new EngineUnavailableError(
      "@genai/onnx has no createOnnxEngine; install the version that belongs to @genai/core",
    );
  }
  return onnx.createOnnxEngine({
    device,
    ...(threads === undefined ? {} : { threads }),
    ...(onnxWasmPaths === undefined ? {} : { wasmPaths: onnxWasmPaths }),
  });
}

/** Full names of the engines to try for a device, best first. */
export function candidates(device: Device, runtime?: Runtime, node = isNode()): string[] {
  if (!DEVICES.includes(device)) {
    throw new Error(`createEngine: device (${device}) is unknown; expected one of ${DEVICES.join(", ")}`);
  }
  if (runtime !== undefined && !RUNTIMES.includes(runtime)) {
    throw new Error(`createEngine: runtime (${runtime}) is unknown; expected one of ${RUNTIMES.join(", ")}`);
  }
  const names = (node ? IN_NODE : IN_BROWSERS)[device];
  return runtime === undefined ? [...names] : names.filter((name) => name.startsWith(`${runtime}:`));
}

const NODE_CPU = ["onnx:cpu", "tfjs:tensorflow", "tfjs:wasm", "tfjs:cpu"];

const IN_NODE: Record<Device, readonly string[]> = {
  auto: ["onnx:cuda", ...NODE_CPU],
  cpu: NODE_CPU,
  wasm: ["tfjs:wasm"],
  webgl: ["tfjs:webgl"],
  webgpu: ["onnx:webgpu", "tfjs:webgpu"],
  cuda: ["onnx:cuda", "tfjs:tensorflow"],
  coreml: ["onnx:coreml"],
  dml: ["onnx:dml"],
};

const IN_BROWSERS: Record<Device, readonly string[]> = {
  auto: ["onnx:webgpu", "tfjs:webgpu", "onnx:wasm", "tfjs:wasm", "tfjs:webgl", "tfjs:cpu"],
  cpu: ["onnx:wasm", "tfjs:wasm", "tfjs:cpu"],
  wasm: ["onnx:wasm", "tfjs:wasm"],
  webgl: ["tfjs:webgl"],
  webgpu: ["onnx:webgpu", "tfjs:webgpu"],
  cuda: [],
  coreml: [],
  dml: [],
};

/** Every engine that can exist here, by full name. */
export function engineNames(node = isNode()): string[] {
  const onnx = node ? ["cpu", "cuda", "webgpu", "coreml", "dml"] : ["webgpu", "wasm"];
  const tfjs = node ? ["tensorflow", "wasm", "webgpu", "cpu"] : ["webgpu", "wasm", "webgl", "cpu"];
  return [...onnx.map((device) => `onnx:${device}`), ...tfjs.map((backend) => `tfjs:${backend}`)];
}

function parseName(name: string): string {
  const valid = [
    ...ONNX_DEVICES.map((device) => `onnx:${device}`),
    ...TFJS_BACKENDS.map((backend) => `tfjs:${backend}`),
  ];
  if (!valid.includes(name))
    throw new Error(`createEngine: engine (${name}) is unknown; expected one of ${valid.join(", ")}`);
  return name;
}

/** The reason without the words that the sentence around it says already. */
export function shortReason(name: string, error: unknown): string {
  const text = messageOf(error);
  return text.startsWith(`${name} cannot be had: `) ? text.slice(name.length + " cannot be had: ".length) : text;
}

function unavailable(device: string, failures: readonly { name: string; reason: string }[]): string {
  if (device === "cuda") {
    if (!isNode()) return "createEngine: cuda cannot be had in a browser; use device webgpu, or run in Node";
    // Both ways in one sentence; the advice in each engine's own reason would say half of it twice.
    const reasons = failures.map(({ name, reason }) => `${name}: ${reason.split("; ")[0]}`).join("; ");
    return (
      `createEngine: cuda cannot be had here (${reasons}); install either ONNX Runtime's CUDA 12 provider (npm install ` +
      "@genai/onnx onnxruntime-node, then node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12, " +
      "with CUDA 12 and cuDNN 9 on Linux x64) or tfjs-node-gpu (npm install @tensorflow/tfjs-node-gpu@4.22.0, with CUDA 11.2 and cuDNN 8.1)"
    );
  }
  const [first, ...others] = failures;
  const tried =
    others.length === 0 ? first?.reason : failures.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
  if (failures.length === 0)
    return `createEngine: no engine computes on ${device} ${isNode() ? "in Node" : "in a browser"}`;
  return `createEngine: ${device} cannot be had here: ${tried}`;
}

async function usesGpu(): Promise<boolean> {
  const { findBackend } = await import("@tensorflow/tfjs");
  return (findBackend("tensorflow") as { isUsingGpuDevice?: boolean } | null)?.isUsingGpuDevice === true;
}
