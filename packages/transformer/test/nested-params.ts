import type * as tf from "@tensorflow/tfjs";

type Node = { [key: string]: Node } | tf.Tensor;

/** A tree of parameters out of a flat record by dotted name; numbers in names are places in arrays. */
export function nestedParams<P>(flat: Readonly<Record<string, tf.Tensor>>): P {
  const root: { [key: string]: Node } = {};
  for (const [name, tensor] of Object.entries(flat)) {
    const keys = name.split(".");
    let node = root;
    for (const key of keys.slice(0, -1)) {
      node[key] ??= {};
      node = node[key] as { [key: string]: Node };
    }
    node[keys.at(-1)!] = tensor;
  }
  const arrays = (node: Node): unknown => {
    if ("dataId" in node) return node;
    const entries = Object.entries(node as { [key: string]: Node }).map(([k, v]) => [k, arrays(v)] as const);
    return entries.every(([key]) => /^\d+$/.test(key)) ? entries.map(([, v]) => v) : Object.fromEntries(entries);
  };
  return arrays(root) as P;
}
