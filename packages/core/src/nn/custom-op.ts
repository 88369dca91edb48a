import * as tf from "@tensorflow/tfjs";

/** The engine method behind `tf.customGrad`; unlike it, it takes one lazy gradient for each input. */
interface KernelFuncRunner {
  runKernelFunc(params: {
    forwardFunc: (backend: unknown, save: (tensors: tf.Tensor[]) => void) => tf.Tensor;
    backwardsFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => Record<string, () => tf.Tensor>;
    inputs: Record<string, tf.Tensor>;
    attrs: Record<string, unknown>;
  }): tf.Tensor;
}

type Named = Record<string, tf.Tensor>;

/** What an op with a gradient of its own consists of. */
export interface CustomOp<I extends Named, C extends Named> {
  /** Tensors that the gradient flows to. */
  readonly inputs: I;
  /** Tensors that the op reads but has no gradient for, such as indices. */
  readonly constants?: C;
  readonly forward: () => tf.Tensor;
  /**
   * The gradients of the inputs for the gradient `dy` of the result. Reads only the tensors it is handed: those of the
   * forward pass may be gone by then. Each gradient is a new tensor and is computed only if it is needed.
   */
  readonly backward: (dy: tf.Tensor, saved: I & C) => { [K in keyof I]: () => tf.Tensor };
}

/**
 * Runs `forward` as one op whose gradient is `backward`.
 *
 * Unlike `tf.customGrad` it evaluates only the gradients that are needed: a first layer's gradient with respect to the
 * images costs nothing. Only inputs are saved, because tfjs cannot differentiate a gradient through a saved output.
 */
export function customOp<I extends Named, C extends Named = Record<never, never>>(op: CustomOp<I, C>): tf.Tensor {
  const named = { ...op.inputs, ...op.constants } as I & C;
  const keys = Object.keys(named);
  const engine = tf.engine() as unknown as KernelFuncRunner;
  return engine.runKernelFunc({
    inputs: op.inputs,
    attrs: {},
    forwardFunc: (_backend, save) => {
      save(keys.map((key) => named[key]!));
      return op.forward();
    },
    backwardsFunc: (dy, saved) =>
      op.backward(dy, Object.fromEntries(keys.map((key, i) => [key, saved[i]!])) as I & C) as Record<
        string,
        () => tf.Tensor
      >,
  });
}

/** Inside a gradient function: whether somebody will differentiate this gradient again (WGAN-GP, R1, score matching). */
export function isGradientRecorded(): boolean {
  return tf.engine().state.gradientDepth > 0;
}

/** Whether the backend in use has a kernel of this name. */
export function hasKernel(name: string): boolean {
  return tf.getKernel(name, tf.getBackend()) != null;
}

/** The same values; no gradient flows back through them. */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  return customOp({
    inputs: { x },
    forward: () => tf.clone(x),
    backward: (dy) => ({ x: () => tf.zerosLike(dy) }),
  }) as T;
}

/**
 * What `fn` computes, as a constant: no gradient flows back, and nothing is kept for one. For a model that is only read
 * inside a loss, such as a teacher.
 */
export function withoutGradients<T extends tf.Tensor>(fn: () => T): T {
  return customOp({ inputs: {}, forward: fn, backward: () => ({}) }) as T;
}
