import { adam, type Engine, Rng, replaceState, treeDispose, valueAndGrad } from "@genai/core";
import { drawDigits } from "@genai/datasets";
import { type ConvVae, type ConvVaeConfig, convVaeLoss, createConvVae } from "@genai/vae";
import * as tf from "@tensorflow/tfjs";

/** A VAE small enough for every engine, software-rendered WebGPU included. */
const config: ConvVaeConfig = {
  imageSize: [16, 16],
  channels: 1,
  hiddenChannels: [8, 16],
  denseDim: 32,
  latentDim: 4,
  encoderKernel: 3,
  decoderKernel: 4,
};

/** The loss of every step, in nats per image, of a small VAE trained on the same images with the same noise. */
export async function lossCurve(engine: Engine, steps: number): Promise<number[]> {
  const rng = new Rng(1);
  const model = createConvVae(config, rng);
  const optimizer = adam({ learningRate: 3e-3 });
  const { images } = drawDigits({ count: 16, rng, size: 16 });
  const x = tf.tensor4d(
    Float32Array.from(images, (byte) => byte / 255),
    [16, 16, 16, 1],
  );
  type State = { params: ConvVae["params"]; opt: ReturnType<typeof optimizer.init> };
  const step = engine.compile((state: State, batch: tf.Tensor4D, noise: Rng) => {
    const { loss, grads } = valueAndGrad((params) => convVaeLoss({ config, params }, batch, noise), state.params);
    const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
    return { state: { params, opt }, loss };
  });
  let state: State = { params: model.params, opt: optimizer.init(model.params) };
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    const next = await step(state, x, rng);
    losses.push((await next.loss.data())[0]!);
    next.loss.dispose();
    state = replaceState(state, next.state);
  }
  treeDispose([state, x]);
  step.dispose();
  return losses;
}

/**
 * How far curves may part, as a share of the loss. Engines add float32 numbers in different orders, and training makes
 * differences of 1e-7 grow; over these steps they stay below 1e-6 on processors. Software WebGPU computes exponentials
 * less exactly.
 */
export const tolerance = (name: string): number => (name.endsWith("webgpu") ? 1e-4 : 1e-5);

/** The curves side by side, one line a step. */
export function curveTable(curves: ReadonlyMap<string, readonly number[]>): string {
  const names = [...curves.keys()];
  const rows = Array.from({ length: Math.max(...[...curves.values()].map((c) => c.length)) }, (_, i) => [
    String(i + 1),
    ...names.map((name) => curves.get(name)![i]?.toFixed(4) ?? ""),
  ]);
  return [["step", ...names], ...rows].map((row) => row.map((cell) => cell.padStart(12)).join("")).join("\n");
}

/** Recorded from tfjs:cpu, so that a run in a browser is compared with the runs in Node. */
export const reference: readonly number[] = [
  181.7488555908203, 174.01487731933594, 166.97262573242188, 156.0911865234375, 150.18203735351562, 144.75,
  143.9740447998047, 135.9054412841797, 132.53245544433594, 125.1275634765625, 124.7450942993164, 124.18204498291016,
  119.2174072265625, 115.41747283935547, 111.29185485839844, 106.82252502441406, 110.57044982910156, 108.40753173828125,
  102.5702896118164, 103.04151153564453,
];
