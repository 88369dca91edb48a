import { adamw, createEngine, type Engine, gradientStep, Rng, treeDispose, treeEntries } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterEach, describe, expect, it } from "vitest";
import { wasmPaths } from "../../core/test/engine/wasm-files.ts";
import {
  type CausalLm,
  convertLm,
  createGpt2,
  createLlama,
  type Gpt2Params,
  generateIds,
  gpt2Loss,
  llamaLm,
  nextTokens,
  perplexity,
} from "../src/index.ts";

// What Node does - train, decode through a cache, round the weights - in a real Chromium, WebGPU by SwiftShader. Plain
// JavaScript goes first: the others must get what it got.

const engines = ["tfjs:cpu", "tfjs:wasm", "onnx:wasm", "tfjs:webgpu", "onnx:webgpu"];

const gpt2Config = { vocabSize: 40, blockSize: 16, nEmbd: 32, nHead: 2, nLayer: 1, dropout: 0.1 };
const llamaConfig = {
  vocabSize: 40,
  blockSize: 32,
  nEmbd: 64,
  nHead: 8,
  nKvHead: 2,
  nLayer: 1,
  nInner: 128,
};

/** Losses of a few steps on a sequence that can be learned. */
async function train(engine: Engine): Promise<number[]> {
  const rng = new Rng(3);
  const { config, params } = createGpt2(gpt2Config, rng);
  const { init, step } = gradientStep(adamw({ learningRate: 3e-3 }), (p: Gpt2Params, ids: tf.Tensor2D, noise: Rng) => ({
    loss: gpt2Loss({ config, params: p }, ids, nextTokens(ids), { rng: noise }),
  }));
  const compiled = engine.compile(step);
  const ids = tf.tensor2d(
    Int32Array.from({ length: 64 }, (_, i) => (i * i) % 40),
    [4, 16],
    "int32",
  );
  let state = init(params);
  const losses: number[] = [];
  for (let i = 0; i < 3; i++) {
    const next = await compiled(state, ids, rng);
    treeDispose(state);
    state = next.state;
    losses.push((await next.metrics.loss.data())[0]!);
    treeDispose(next.metrics);
  }
  treeDispose([state, ids]);
  return losses;
}

/** What a Llama writes behind prompts of unequal length, and how well it predicts, in each form of its weights. */
async function write(engine: Engine) {
  // SwiftShader takes seconds to prepare a graph.
  const formats = engine.name.endsWith("webgpu") ? (["int4"] as const) : (["panels", "int8", "int4"] as const);
  const { config, params } = createLlama(llamaConfig, new Rng(1));
  const plain = llamaLm(config) as CausalLm;
  const prompts = [[1, 2, 3, 4, 5], [7]];
  const options = { maxNewTokens: 4 };
  const tokens = Array.from({ length: 33 }, (_, i) => (i * i) % plain.vocabSize);
  const written = await generateIds(engine, plain, params, prompts, options);
  const losses: Record<string, number> = {};
  for (const format of formats) {
    const { lm, params: converted } = await convertLm(plain, params, { format });
    losses[format] = (await perplexity(engine, lm, converted, tokens)).loss;
    const ids = await generateIds(engine, lm, converted, prompts, options);
    if (format === "panels") expect(ids).toEqual(written);
    expect(ids.map((row) => row.length)).toEqual([4, 4]);
    treeDispose(converted);
  }
  treeDispose(params);
  return { written, losses };
}

/** The codes of a Llama rounded by a text. */
async function calibrate(engine: Engine): Promise<Int32Array> {
  const { config, params } = createLlama(llamaConfig, new Rng(1));
  const tokens = Int32Array.from({ length: 256 }, (_, i) => (i * i) % config.vocabSize);
  const calibration = { engine, tokens };
  const rounded = await convertLm(llamaLm(config) as CausalLm, params, { format: "int4", consume: true, calibration });
  const units = treeEntries(rounded.params).filter(([path]) => path.endsWith(".units"));
  const codes = await Promise.all(units.map(async ([, tensor]) => (await tensor.data()) as Int32Array));
  treeDispose(rounded.params);
  return Int32Array.from(codes.flatMap((some) => [...some]));
}

describe("language models in the browser", () => {
  let engine: Engine | undefined;
  afterEach(() => {
    engine?.dispose();
    engine = undefined;
  });
  let curve: number[] | undefined;
  let text: Awaited<ReturnType<typeof write>> | undefined;
  let codes: Int32Array | undefined;

  it.each(engines)("%s trains a GPT-2 with dropout, and its losses are those of plain JavaScript", async (name) => {
    engine = await createEngine(name, { wasmPaths });
    expect(engine.name).toBe(name);
    const tensors = tf.memory().numTensors;
    const losses = await train(engine);
    expect(tf.memory().numTensors).toBe(tensors);
    curve ??= losses;
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    for (const [i, loss] of losses.entries()) expect(loss, `step ${i}`).toBeCloseTo(curve[i]!, 3);
  });

  it.each(engines)("%s writes what plain JavaScript writes, with weights as they are and rounded", async (name) => {
    engine = await createEngine(name, { wasmPaths });
    const got = await write(engine);
    text ??= got;
    expect(got.written).toEqual(text.written);
    for (const [format, loss] of Object.entries(got.losses)) {
      // Products with rounded weights round what enters them too.
      expect(Math.abs(loss - text.losses[format]!), format).toBeLessThan(format === "panels" ? 1e-3 : 0.01);
    }
  });

  it.each(engines)("%s rounds weights by a text as plain JavaScript does", async (name) => {
    engine = await createEngine(name, { wasmPaths });
    const tensors = tf.memory().numTensors;
    const got = await calibrate(engine);
    expect(tf.memory().numTensors).toBe(tensors);
    codes ??= got;
    // Eight codes to a unit; one that lies half way between two may tip, and with it others of its row.
    const same = got.filter((unit, i) => unit === codes![i]).length;
    expect(same / got.length).toBeGreaterThan(0.9);
  });
});
