import * as tf from "@tensorflow/tfjs";

// Optimizers step many parameters at once, side by side in one vector: an operator on a bias costs as much as its dispatch,
// and runtimes give an operator all their threads only if it is large enough.

/** A parameter and its dotted path. */
type Param = readonly [path: string, param: tf.Tensor];

/** Elements of a group, unless it is one large parameter. Vectors of 1 MiB are large enough for threads and stay in caches. */
const GROUP_SIZE = 2 ** 18;

/** The parameters in their order, parted into groups of neighbours. */
export function groupParams(params: readonly Param[]): Param[][] {
  const groups: Param[][] = [];
  let room = 0;
  for (const entry of params) {
    const { size } = entry[1];
    if (groups.length === 0 || size > room) {
      groups.push([]);
      room = GROUP_SIZE;
    }
    groups.at(-1)!.push(entry);
    room -= size;
  }
  return groups;
}

/** The elements of all parameters of a group. */
export const groupSize = (group: readonly Param[]): number => group.reduce((n, [, { size }]) => n + size, 0);

/** Tensors side by side in one vector. */
export function joinVectors(tensors: readonly tf.Tensor[]): tf.Tensor1D {
  const vectors = tensors.map((tensor) => tensor.reshape([tensor.size]) as tf.Tensor1D);
  return vectors.length === 1 ? vectors[0]! : tf.concat1d(vectors);
}

/** The parts of a vector that belong to the parameters of a group, in their shapes. */
export function splitVector(vector: tf.Tensor, group: readonly Param[]): tf.Tensor[] {
  const sizes = group.map(([, { size }]) => size);
  const parts = sizes.length === 1 ? [vector] : tf.split(vector, sizes);
  return parts.map((part, i) => part.reshape(group[i]![1].shape));
}
