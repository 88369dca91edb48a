import { type CheckpointStore, type Tree, treeMap } from "@genai/core";
import { Tensor } from "@tensorflow/tfjs";

/**
 * A store whose checkpoints lack the tensors that never change, such as the model below an adapter: where one is read, they
 * are those of `state`, which the training begins with.
 */
export function withoutFrozen(
  store: CheckpointStore,
  state: Tree,
  isFrozen: (path: string) => boolean,
): CheckpointStore {
  const strip = (tree: Tree) => treeMap(tree, (tensor, path) => (isFrozen(path) ? null : tensor));
  return {
    ...store,
    save: (checkpoint, options) => store.save({ ...checkpoint, state: strip(checkpoint.state) }, options),
    async load(step) {
      const checkpoint = await store.load(step);
      return { ...checkpoint, state: filled(checkpoint.state, state) };
    },
    async latest() {
      const found = await store.latest();
      if (!found) return undefined;
      return { ...found, checkpoint: { ...found.checkpoint, state: filled(found.checkpoint.state, state) } };
    },
  };
}

/** A saved tree with the tensors of another in the place of what it lacks. */
function filled(saved: unknown, other: unknown): Tree {
  if (saved === null && other instanceof Tensor) return other;
  if (saved instanceof Tensor || typeof saved !== "object" || saved === null) return saved;
  if (Array.isArray(saved)) return saved.map((child, i) => filled(child, (other as unknown[] | undefined)?.[i]));
  const theirs = (other ?? {}) as Record<string, unknown>;
  return Object.fromEntries(Object.entries(saved).map(([key, child]) => [key, filled(child, theirs[key])]));
}
