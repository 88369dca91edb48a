import { EngineUnavailableError, isNode } from "@genai/core";
import type { InferenceSession, TensorConstructor } from "onnxruntime-common";
import { Graph } from "../graph/graph.ts";
import { binary } from "../graph/operators.ts";
import { inPlaceLoader, type Loader, plainLoader } from "./program.ts";

/** Devices that ONNX Runtime computes on: all but wasm in Node, wasm and webgpu in browsers. */
export type OnnxDevice = "cpu" | "wasm" | "webgpu" | "cuda" | "coreml" | "dml";

export const ONNX_DEVICES: readonly OnnxDevice[] = ["cpu", "wasm", "webgpu", "cuda", "coreml", "dml"];

export interface OnnxRuntimeOptions {
  /** Threads of one operator; default all cores. In browsers this needs a cross-origin isolated page. */
  readonly threads?: number;
  /** In browsers: where onnxruntime-web's .wasm files are; a folder's URL ending in "/", or URLs by file. */
  readonly wasmPaths?: string | Record<string, string>;
}

/** ONNX Runtime for Node or the web, with a device chosen. */
export interface OnnxRuntime {
  readonly device: OnnxDevice;
  readonly Tensor: TensorConstructor;
  readonly loader: Loader;
}

interface OrtModule {
  readonly Tensor: TensorConstructor;
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly env: { wasm: { numThreads?: number; wasmPaths?: unknown }; logLevel?: string };
}

const ADVICE: Record<OnnxDevice, string> = {
  cpu: "npm install onnxruntime-node",
  wasm: "npm install onnxruntime-web",
  webgpu: isNode()
    ? "it needs a GPU with a Vulkan, Metal or Direct3D 12 driver"
    : "it needs a browser with WebGPU; see chrome://gpu",
  cuda: "run 'node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12' for ONNX Runtime's CUDA 12 provider, with CUDA 12 and cuDNN 9 on Linux x64",
  coreml: "it exists on macOS only",
  dml: "it exists on Windows only",
};

function unavailable(device: OnnxDevice, reason: string, cause?: unknown): EngineUnavailableError {
  return new EngineUnavailableError(`onnx:${device} cannot be had: ${reason}; ${ADVICE[device]}`, { cause });
}

async function loadModule(device: OnnxDevice): Promise<OrtModule> {
  const node = isNode();
  if (node && device === "wasm") throw unavailable(device, "in Node the native runtime is used; ask for device cpu");
  if (!node && device !== "wasm" && device !== "webgpu")
    throw unavailable(device, "browsers have webgpu and wasm only");
  try {
    const loaded = node
      ? await import("onnxruntime-node")
      : device === "webgpu"
        ? await import("onnxruntime-web/webgpu")
        : await import("onnxruntime-web/wasm");
    // onnxruntime-node is CommonJS: its names may stand on the default export only.
    return ("InferenceSession" in loaded ? loaded : (loaded as { default: unknown }).default) as unknown as OrtModule;
  } catch (error) {
    const name = node ? "onnxruntime-node" : "onnxruntime-web";
    throw new EngineUnavailableError(
      `onnx:${device} cannot be had: ${name} cannot be loaded (${firstLine(error)}); npm install ${name}`,
      {
        cause: error,
      },
    );
  }
}

/** The first line of an error, without the place in ONNX Runtime's source and the condition that it quotes. */
const firstLine = (error: unknown) =>
  String(error instanceof Error ? error.message : error)
    .split("\n")[0]!
    .replace(/^\S*onnxruntime_src\S* .* was false\. /, "");

/**
 * Loads ONNX Runtime and checks, by running a tiny graph, that it computes on the device.
 *
 * @throws EngineUnavailableError, saying what to install
 */
export async function loadOnnxRuntime(device: OnnxDevice, options: OnnxRuntimeOptions = {}): Promise<OnnxRuntime> {
  const ort = await loadModule(device);
  // Failures come as exceptions, which say what happened; ONNX Runtime's log would print them beside.
  ort.env.logLevel = "fatal";
  const node = isNode();
  if (!node) {
    const threads =
      options.threads ?? (globalThis.crossOriginIsolated ? (globalThis.navigator?.hardwareConcurrency ?? 1) : 1);
    ort.env.wasm.numThreads = threads;
    if (options.wasmPaths !== undefined) ort.env.wasm.wasmPaths = options.wasmPaths;
  }
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: [device],
    graphOptimizationLevel: "all",
    logSeverityLevel: 4,
    // With patterns the second run reserves one block for all activations beside the memory of the first one.
    enableMemPattern: false,
    // Every session has threads of its own, which wait for work by spinning. For tens of milliseconds, which is the runtime's
    // default, they would take the cores from the session that runs next: a prompt's first token came a third later. Two
    // span what JavaScript does between two tokens.
    extra: { session: { intra_op: { spin_duration_us: "2000", spin_backoff_max: "8" } } },
    ...(node && options.threads !== undefined ? { intraOpNumThreads: options.threads } : {}),
    // In browsers, results of a GPU stay there, to be passed to the next call.
    ...(!node && device === "webgpu" ? { preferredOutputLocation: "gpu-buffer" } : {}),
  };
  const createSession = (bytes: Uint8Array) => ort.InferenceSession.create(bytes, sessionOptions);
  if (node) {
    const loader = inPlaceLoader(createSession, ort.Tensor);
    // Whatever goes wrong here is found again, and reported, by the plain way below.
    if (await computes(loader, ort.Tensor).catch(() => false)) return { device, Tensor: ort.Tensor, loader };
  }
  const loader = plainLoader(createSession);
  try {
    if (!(await computes(loader, ort.Tensor))) throw new Error(`1 + 1 is not 2 on ${device}`);
  } catch (error) {
    throw unavailable(device, firstLine(error), error);
  }
  return { device, Tensor: ort.Tensor, loader };
}

/** Adds two numbers on the device, and reports whether the sum is right. */
async function computes(loader: Loader, Tensor: TensorConstructor): Promise<boolean> {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2]);
  const y = binary(graph, "Add", x, x);
  const program = await loader.load({ inputs: [{ name: "x", value: x }], outputs: [{ name: "y", value: y }] });
  const [sum] = await program.run({ x: new Tensor("float32", Float32Array.of(1, 2), [2]) }, new Map());
  const values = (await sum!.getData()) as Float32Array;
  await program.release();
  return values[0] === 2 && values[1] === 4;
}
