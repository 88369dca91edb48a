import * as tf from "@tensorflow/tfjs";
import { Rng } from "../rng.ts";
import { isTensor, type Tree, treeLeaves, treeMapLeaves } from "../tree.ts";
import { customOp } from "./custom-op.ts";
import { fusedOp } from "./fused.ts";

/** x, which is not read before `trigger` is known: what is computed of it is not the same as what was computed before. */
function readAfter(x: tf.Tensor, trigger: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    constants: { trigger },
    forward: () => fusedOp("GenaiReadAfter", { x, trigger }, {}, () => tf.clone(x)),
    backward: (dy) => ({ x: () => tf.clone(dy) }),
  });
}

/**
 * `fn(inputs, constants)`, of which nothing but the inputs is kept for the backward pass, where it is computed again:
 * activation checkpointing (Chen et al. 2016, arXiv:1604.06174). A deep model that does so with its blocks needs memory for
 * the activations of one block, and about a third more time.
 *
 * @param fn pure, in tfjs ops, of its arguments alone: it must not capture tensors, which may be gone when it runs again.
 *   Draws come from Rngs among the inputs, which give the same numbers again
 * @param inputs a tree of tensors and Rngs; gradients flow to its float32 tensors, to all or none of them
 * @param constants a tree of tensors that get no gradient
 */
export function recompute<I extends Tree, C extends Tree = undefined>(
  fn: (inputs: I, constants: C) => tf.Tensor,
  inputs: I,
  ...[constants]: C extends undefined ? [] : [constants: C]
): tf.Tensor {
  const replaced = new Map<Rng, Rng>();
  const begun = treeMapLeaves(inputs, (leaf) => {
    if (!(leaf instanceof Rng)) return leaf;
    if (!replaced.has(leaf)) replaced.set(leaf, leaf.copy());
    return replaced.get(leaf)!;
  });
  const isInput = (leaf: unknown): leaf is tf.Tensor => isTensor(leaf) && leaf.dtype === "float32";
  const differentiated = treeLeaves(inputs).filter(isInput);
  const others = [...treeLeaves(inputs).filter((leaf) => !isInput(leaf)), ...treeLeaves(constants)];
  const numbered = (prefix: string, list: readonly tf.Tensor[]) =>
    Object.fromEntries(list.map((tensor, i) => [`${prefix}${i}`, tensor]));
  return customOp<Record<string, tf.Tensor>, Record<string, tf.Tensor>>({
    inputs: numbered("input", differentiated),
    constants: numbered("constant", others),
    forward: () => fn(inputs, constants as C),
    backward: (dy, saved) => {
      const xs = differentiated.map((_, i) => readAfter(saved[`input${i}`]!, dy));
      let [x, other] = [0, 0];
      const rngs = new Map<Rng, Rng>();
      const rebuild = (leaf: unknown): unknown => {
        if (isTensor(leaf)) return isInput(leaf) ? xs[x++] : saved[`constant${other++}`];
        if (!(leaf instanceof Rng)) return leaf;
        if (!rngs.has(leaf))
          rngs.set(
            leaf,
            leaf.copy((draw) => readAfter(draw, dy)),
          );
        return rngs.get(leaf);
      };
      const again = { inputs: treeMapLeaves(begun, rebuild) as I, constants: treeMapLeaves(constants, readSaved) as C };
      function readSaved(leaf: unknown): unknown {
        return isTensor(leaf) ? saved[`constant${other++}`] : leaf;
      }
      // The tape in use was already read; tfjs begins another one in its place, and forgets it.
      const engine = tf.engine();
      const tape = engine.state.activeTape;
      let list: (tf.Tensor | undefined)[];
      try {
        const { value, grads } = engine.gradients(() => fn(again.inputs, again.constants), xs, dy, true);
        value.dispose();
        list = grads;
      } finally {
        engine.state.activeTape = tape;
      }
      return Object.fromEntries(
        differentiated.map((tensor, i) => [`input${i}`, () => list[i] ?? tf.zerosLike(tensor)]),
      );
    },
  });
}
