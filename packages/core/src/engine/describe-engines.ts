import * as tf from "@tensorflow/tfjs";
import { createNamed, engineNames, shortReason } from "./create-engine.ts";
import { messageOf } from "./load-failure.ts";

/** What was found when an engine was created and made to compute. */
export interface EngineDescription {
  /** Full name, as `createEngine` takes it. */
  readonly name: string;
  readonly works: boolean;
  /** What it runs on, or what is missing and how to get it. */
  readonly detail: string;
}

/**
 * Creates every engine that can exist here, has it compute something, and tells what happened; fastest first. Nothing is
 * guessed. tfjs' active backend is the same afterwards.
 */
export async function describeEngines(): Promise<EngineDescription[]> {
  const before = tf.engine().backendName;
  const found: EngineDescription[] = [];
  for (const name of engineNames()) found.push(await describe(name));
  if (before && before !== tf.engine().backendName) await tf.setBackend(before);
  return found;
}

async function describe(name: string): Promise<EngineDescription> {
  try {
    const engine = await createNamed(name);
    try {
      const double = engine.compile((x: tf.Tensor) => tf.add(x, x));
      const x = tf.tensor1d([1, 2]);
      const y = await double(x);
      const values = await y.data();
      tf.dispose([x, y]);
      if (values[0] !== 2 || values[1] !== 4) return { name, works: false, detail: `1 + 1 came out as ${values[0]}` };
      return { name, works: true, detail: await runsOn(name) };
    } finally {
      engine.dispose();
    }
  } catch (error) {
    return { name, works: false, detail: shortReason(name, error) };
  }
}

async function runsOn(name: string): Promise<string> {
  const version = `tfjs ${tf.version.tfjs}`;
  if (name === "tfjs:cpu") return `${version} in plain JavaScript`;
  if (name === "tfjs:wasm") {
    const { getThreadsCount } = await import("@tensorflow/tfjs-backend-wasm");
    const threads = getThreadsCount();
    return `${version} in WebAssembly, ${threads === 1 ? "one thread" : `${threads} threads`}`;
  }
  if (name === "tfjs:webgpu") return `${version} on WebGPU, ${await adapterName()}`;
  if (name === "tfjs:tensorflow") {
    const { isUsingGpuDevice } = tf.findBackend("tensorflow") as { isUsingGpuDevice?: boolean };
    return `${version} in TensorFlow, on ${isUsingGpuDevice ? "CUDA" : "the CPU"}`;
  }
  if (name === "tfjs:webgl") return `${version} in WebGL shaders`;
  return `ONNX Runtime's ${name.slice("onnx:".length)} provider`;
}

async function adapterName(): Promise<string> {
  try {
    const info = (await navigator.gpu.requestAdapter())?.info;
    return (
      [info?.vendor, info?.architecture, info?.device, info?.description].filter(Boolean).join(" ") ||
      "adapter without a name"
    );
  } catch (error) {
    return messageOf(error);
  }
}
