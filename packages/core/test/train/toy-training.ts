import * as tf from "@tensorflow/tfjs";
import { adamw } from "../../src/optim/adam.ts";
import { Rng, type RngState } from "../../src/rng.ts";
import type { BatchStream } from "../../src/train/batch-stream.ts";
import type { FitOptions, StepResult } from "../../src/train/fit.ts";
import { valueAndGrad } from "../../src/train/value-and-grad.ts";

// A regression with everything that a resumed run must get right: optimizer state, noise in the step, shuffled data and
// a learning rate that changes.

interface Params {
  hidden: tf.Tensor2D;
  out: tf.Tensor2D;
}
type OptState = ReturnType<ReturnType<typeof adamw>["init"]>;
export interface ToyState {
  config: { width: number; name: string };
  params: Params;
  opt: OptState;
  seen: tf.Tensor;
}
export interface ToyBatch {
  x: tf.Tensor2D;
  y: tf.Tensor2D;
}

const optimizer = adamw({ learningRate: 0.01, weightDecay: 0.1 });

export function toyState(seed = 1, width = 8): ToyState {
  const rng = new Rng(seed);
  const params = { hidden: rng.normal([4, width]) as tf.Tensor2D, out: rng.normal([width, 1]) as tf.Tensor2D };
  return { config: { width, name: "toy" }, params, opt: optimizer.init(params), seen: tf.scalar(0, "int32") };
}

export function toyStep(state: ToyState, { x, y }: ToyBatch, rng: Rng): StepResult<ToyState> {
  const { loss, grads, penalty } = valueAndGrad((p: Params) => {
    const noisy = x.add(rng.normal(x.shape, 0, 0.1)) as tf.Tensor2D;
    const error = noisy.matMul(p.hidden).tanh().matMul(p.out).sub(y).square().mean();
    const penalty = p.out.square().sum().mul(1e-3);
    return { loss: error.add(penalty) as tf.Scalar, penalty };
  }, state.params);
  const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
  const next = { config: state.config, params, opt: opt as OptState, seen: state.seen.add(tf.scalar(1, "int32")) };
  return { state: next, metrics: { loss, penalty: penalty as tf.Tensor } };
}

/** Batches of a stream of random numbers; `limit` batches, or endless. */
export class ToyStream implements BatchStream<ToyBatch> {
  #rng: Rng;
  #given = 0;
  #limit: number;
  constructor(seed: number, limit = Number.POSITIVE_INFINITY) {
    this.#rng = new Rng(seed);
    this.#limit = limit;
  }
  async next(): Promise<IteratorResult<ToyBatch, undefined>> {
    if (this.#given >= this.#limit) return { done: true, value: undefined };
    this.#given += 1;
    const x = this.#rng.normal([16, 4]) as tf.Tensor2D;
    return { done: false, value: { x, y: tf.tidy(() => x.sum(1, true).sin() as tf.Tensor2D) } };
  }
  state() {
    return { rng: this.#rng.state(), given: this.#given };
  }
  restore(state: unknown): void {
    const { rng, given } = state as { rng: RngState; given: number };
    this.#rng = Rng.fromState(rng);
    this.#given = given;
  }
}

/** The options that all runs of the toy share. */
export function toyOptions(steps: number, state = toyState()): Omit<FitOptions<ToyState, ToyBatch>, "engine"> {
  return {
    step: toyStep,
    state,
    data: new ToyStream(2),
    steps,
    rng: new Rng(3),
    schedules: { "opt.learningRate": (step) => 0.02 / (1 + step) },
  };
}
