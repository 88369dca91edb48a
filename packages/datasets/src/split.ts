import type { Rng } from "@genai/core";
import { type ArraySet, columnsOf } from "./dataset.ts";

/** How many examples a set has. */
export function countExamples(set: ArraySet): number {
  return columnsOf("countExamples", set).count;
}

/** The examples at `indices`, in that order, copied. Indices may repeat. */
export function subset<D extends ArraySet>(set: D, indices: ArrayLike<number>): D {
  const { count, columns } = columnsOf("subset", set);
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    if (!Number.isInteger(index) || index < 0 || index >= count) {
      throw new Error(`subset: index (${index}) must be a whole number below ${count}`);
    }
  }
  const fields: Record<string, unknown> = {};
  for (const { key, data, stride } of columns) {
    const out = new (data.constructor as new (length: number) => typeof data)(indices.length * stride);
    for (let i = 0; i < indices.length; i++) {
      const from = indices[i]! * stride;
      out.set(data.subarray(from, from + stride), i * stride);
    }
    fields[key] = out;
  }
  return resized(set, fields, indices.length);
}

/** The first `count` examples, as views of the set's arrays. */
export function take<D extends ArraySet>(set: D, count: number): D {
  const all = columnsOf("take", set);
  if (!Number.isInteger(count) || count < 0 || count > all.count) {
    throw new Error(`take: count (${count}) must be a whole number from 0 to ${all.count}`);
  }
  const fields = Object.fromEntries(
    all.columns.map(({ key, data, stride }) => [key, data.subarray(0, count * stride)]),
  );
  return resized(set, fields, count);
}

/**
 * Parts a set at random: the i-th part gets `fractions[i]` of the examples, rounded; each example goes to one part at
 * most, and to exactly one if the fractions add up to 1.
 */
export function split<D extends ArraySet>(set: D, fractions: readonly number[], rng: Rng): D[] {
  const sum = fractions.reduce((a, b) => a + b, 0);
  if (fractions.some((f) => !(f >= 0)) || sum > 1 + 1e-9) {
    throw new Error(`split: fractions [${fractions}] must be at least 0 and add up to at most 1`);
  }
  const { count } = columnsOf("split", set);
  const order = rng.fork("split").draw({ kind: "permutation", size: count });
  let passed = 0;
  return fractions.map((fraction) => {
    const start = Math.round(passed * count);
    passed += fraction;
    return subset(set, order.subarray(start, Math.round(passed * count)));
  });
}

function resized<D extends ArraySet>(set: D, fields: Record<string, unknown>, count: number): D {
  const shape = set.shape === undefined ? {} : { shape: [count, ...set.shape.slice(1)] };
  return { ...set, ...fields, ...shape };
}
