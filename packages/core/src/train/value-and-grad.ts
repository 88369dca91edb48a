import * as tf from "@tensorflow/tfjs";
import { isTensor, type Tree, treeDispose, treeEntries, treeMap } from "../tree.ts";

export interface ValueAndGradOptions {
  /** Parameters for which this is false are constants: their gradient is zero and no work goes into it. */
  trainable?: ((path: string, param: tf.Tensor) => boolean) | undefined;
  /** Gives a zero gradient to parameters that the loss does not depend on, instead of throwing. */
  allowUnused?: boolean | undefined;
}

/** A function's loss, the gradient of the loss for every parameter, and whatever else the function returned. */
export type ValueAndGrad<P, R> = { loss: tf.Scalar; grads: P } & (R extends tf.Tensor ? unknown : Omit<R, "loss">);

/**
 * Evaluates a loss and its gradient with respect to every tensor of a tree.
 *
 * `fn` is differentiated in its argument; tensors that it captures are constants. May be nested: a gradient can be part
 * of a loss (gradient penalties).
 *
 * @param fn returns a scalar loss, or a record `{ loss, ...aux }` whose other entries, trees of tensors, are passed on.
 * @param params tree of float32 tensors, each at one place only.
 * @returns `loss`, `grads` in the structure of `params`, and the aux entries; all owned by the caller.
 * @throws if a parameter is not float32 or gets no gradient (its path is named), or if the loss is not a float32 scalar.
 */
export function valueAndGrad<P extends Tree, R extends tf.Tensor | { loss: tf.Tensor }>(
  fn: (params: P) => R,
  params: P,
  options: ValueAndGradOptions = {},
): ValueAndGrad<P, R> {
  const entries = treeEntries(params);
  checkDifferentiable(entries);
  const trained = entries.filter(([path, param]) => options.trainable?.(path, param) ?? true);
  const engine = tf.engine();
  // The tape's scope disposes of all that it does not return, and it returns the loss alone: aux tensors are kept over its
  // end by hand, and copied (by reference) into the caller's scope afterwards.
  let aux: Record<string, Tree> = {};

  const run = () => {
    const forward = (): tf.Tensor => {
      const result = fn(params);
      if (isTensor(result)) return checkLoss(result);
      const { loss, ...rest } = (result ?? {}) as Record<string, Tree>;
      if ("grads" in rest)
        throw new Error("valueAndGrad: fn returned an entry named 'grads', which holds the gradients");
      checkLoss(loss);
      aux = treeMap(rest, (tensor) => tf.keep(tensor.clone()));
      return loss as tf.Tensor;
    };
    const differentiate = () =>
      engine.gradients(
        forward,
        trained.map(([, param]) => param),
        undefined as unknown as tf.Tensor,
        true,
      );
    // tfjs wants at least one variable; a wholly frozen tree still has a loss.
    const { value, grads: list } = trained.length > 0 ? differentiate() : { value: tf.tidy(forward), grads: [] };
    const owned = treeMap(aux, (tensor) => tensor.clone());
    treeDispose(aux);
    return { loss: value, grads: gradientTree(params, trained, list, options), ...owned } as tf.TensorContainerObject;
  };

  try {
    return tf.tidy(run) as unknown as ValueAndGrad<P, R>;
  } catch (error) {
    treeDispose(aux);
    releaseTape();
    throw error;
  }
}

function gradientTree<P extends Tree>(
  params: P,
  trained: readonly [string, tf.Tensor][],
  list: readonly (tf.Tensor | undefined)[],
  options: ValueAndGradOptions,
): P {
  const unused = trained.filter((_, i) => !list[i]).map(([path]) => `'${path}'`);
  if (unused.length > 0 && !options.allowUnused) {
    throw new Error(
      `valueAndGrad: the loss does not depend on ${unused.join(", ")}; expected a gradient for every parameter. ` +
        "Compute the loss from fn's argument (captured copies are constants), remove parameters that are not used, " +
        "or pass { allowUnused: true } for zeros",
    );
  }
  const byPath = new Map(trained.map(([path], i) => [path, list[i]]));
  return treeMap(params, (param, path) => byPath.get(path) ?? tf.zerosLike(param));
}

function checkDifferentiable(entries: readonly [string, tf.Tensor][]): void {
  const pathOf = new Map<number, string>();
  const paths = new Set<string>();
  if (entries.length === 0) throw new Error("valueAndGrad: params holds no tensors; expected at least one");
  for (const [path, param] of entries) {
    if (param.dtype !== "float32") {
      throw new Error(
        `valueAndGrad: parameter '${path}' is ${param.dtype}; expected float32 (keep other tensors out of params)`,
      );
    }
    if (paths.has(path)) {
      throw new Error(`valueAndGrad: two parameters have the path '${path}'; expected one (rename a key)`);
    }
    paths.add(path);
    const twin = pathOf.get(param.id);
    if (twin !== undefined) {
      throw new Error(
        `valueAndGrad: parameters '${twin}' and '${path}' are one tensor; expected each once, or its gradient counts twice`,
      );
    }
    pathOf.set(param.id, path);
  }
}

function checkLoss(loss: unknown): tf.Tensor {
  if (!isTensor(loss)) {
    throw new Error("valueAndGrad: fn returned no loss; expected a scalar tensor or a record with an entry 'loss'");
  }
  if (loss.rank !== 0 || loss.dtype !== "float32") {
    throw new Error(
      `valueAndGrad: the loss is ${loss.dtype} of shape [${loss.shape}]; expected a float32 scalar, such as a mean`,
    );
  }
  return loss;
}

/** Frees what an interrupted tape has saved for the backward pass, which tfjs forgets when the function throws. */
function releaseTape(): void {
  const { state } = tf.engine();
  if (state.gradientDepth > 0 || !state.activeTape) return;
  for (const node of state.activeTape) for (const tensor of node.saved ?? []) if (!tensor.isDisposed) tensor.dispose();
  state.activeTape = null as unknown as typeof state.activeTape;
}
