import * as tf from "@tensorflow/tfjs";
import { beforeAll, expect, test } from "vitest";
import { concatBytes } from "../../src/checkpoint/byte-source.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { encodeSafetensors, openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { FormatError } from "../../src/errors.ts";
import { Rng } from "../../src/rng.ts";
import { treeDispose } from "../../src/tree.ts";

// Thousands of damaged files. A reader may accept one (a flipped bit in the data is a file as good as any) or throw a
// FormatError; anything else - another error, a hang, an allocation as large as the file claims - is a bug.

const SNIPPETS = [
  "-1",
  "1e308",
  "9007199254740993",
  "4294967296",
  "null",
  "[]",
  "{}",
  '""',
  "0.5",
  '"F64"',
  '"I64"',
  '"BOOL"',
  '"__proto__"',
  "[1,[2]]",
  ",",
  "}",
  "]",
  '\\"',
  "\ud800",
  "$tensor",
];

beforeAll(async () => {
  await tf.setBackend("cpu");
});

/** A damaged copy of a file. */
function mutate(original: Uint8Array, rng: Rng): Uint8Array {
  const pick = (n: number) => rng.draw({ kind: "integers", size: 1, low: 0, high: Math.max(1, n) })[0]!;
  const header = Number(new DataView(original.buffer).getBigUint64(0, true));
  const kind = pick(8);
  if (kind === 0) return original.slice(0, pick(original.length));
  if (kind === 1) return concatBytes([original, new Uint8Array(1 + pick(20))]);
  const bytes = original.slice();
  if (kind === 2 || kind === 3) {
    // Flipped bits, mostly where they hurt.
    for (let i = 0, n = 1 + pick(4); i < n; i++) bytes[pick(kind === 2 ? 8 + header : bytes.length)]! ^= 1 << pick(8);
    return bytes;
  }
  if (kind === 4) {
    const lies = [
      0n,
      1n,
      BigInt(header - 1),
      BigInt(header + 1),
      BigInt(bytes.length),
      100_000_000n,
      2n ** 63n,
      2n ** 64n - 1n,
    ];
    new DataView(bytes.buffer).setBigUint64(0, lies[pick(lies.length)]!, true);
    return bytes;
  }
  // Edits of the header's text, with the length put right, so that they reach the checks behind the JSON.
  let text = new TextDecoder().decode(bytes.subarray(8, 8 + header));
  for (let i = 0, n = 1 + pick(3); i < n; i++) {
    const numbers = [...text.matchAll(/\d+/g)];
    const number = numbers[pick(numbers.length)];
    if (kind === 5 && number !== undefined) {
      const value = [String(Number(number[0]) + pick(9) - 4), String(pick(1e6)), ...SNIPPETS][pick(12)]!;
      text = text.slice(0, number.index) + value + text.slice(number.index + number[0].length);
    } else if (kind === 6) {
      const at = pick(text.length);
      text = text.slice(0, at) + SNIPPETS[pick(SNIPPETS.length)]! + text.slice(at + pick(12));
    } else {
      const [a, b, c] = [pick(text.length), pick(text.length), pick(text.length)];
      text = text.slice(0, a) + text.slice(Math.min(b, c), Math.max(b, c)) + text.slice(a);
    }
  }
  const edited = new TextEncoder().encode(text);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(edited.length), true);
  return concatBytes([length, edited, bytes.subarray(8 + header)]);
}

/** Opens many damaged copies; returns how many were refused. */
async function fuzz(original: Uint8Array, seed: number, count: number, read: (bytes: Uint8Array) => Promise<void>) {
  const rng = new Rng(seed);
  let refused = 0;
  for (let i = 0; i < count; i++) {
    const bytes = mutate(original, rng);
    try {
      await read(bytes);
    } catch (error) {
      if (!(error instanceof FormatError)) throw new Error(`seed ${seed}, mutation ${i}: ${error}`, { cause: error });
      refused += 1;
    }
  }
  return refused;
}

test("5000 damaged safetensors files are read or refused with a FormatError", async () => {
  const before = tf.memory().numTensors;
  const tensors = {
    w: tf.ones([3, 5]),
    b: tf.tensor1d([1, -2], "int32"),
    "mask.0": tf.tensor1d([true, false, true], "bool"),
    s: tf.scalar(3),
    none: tf.zeros([0, 4]),
  };
  const wide = { dtype: "I64", shape: [2], data: new BigInt64Array([1n, -5n]) } as const;
  const original = concatBytes(await encodeSafetensors([...Object.entries(tensors), ["i", wide]], { a: "b", c: "{}" }));
  tf.dispose(tensors);
  const start = performance.now();
  const refused = await fuzz(original, 11, 5000, async (bytes) => {
    const file = await openSafetensors(bytes);
    for (const [name, { dtype }] of file.tensors) {
      await file.read(name);
      if (dtype.startsWith("F8") || dtype === "C64") continue;
      (await file.tensor(name)).dispose();
    }
  });
  expect(refused).toBeGreaterThan(2500);
  expect(refused).toBeLessThan(5000);
  expect(performance.now() - start).toBeLessThan(20_000);
  expect(tf.memory().numTensors, "tensors leaked").toBe(before);
});

test("5000 damaged checkpoints are read or refused with a FormatError, and none leaks a tensor", async () => {
  const before = tf.memory().numTensors;
  const state = { config: { n: 3, list: [1, { x: null }] }, params: { w: tf.ones([2, 2]), h: [tf.scalar(1)] } };
  const checkpoint = {
    step: 5,
    state,
    rng: new Rng(1).state(),
    data: { at: [1, 2] },
    metrics: { loss: 1.5 },
    meta: { $a: 1 },
  };
  const original = concatBytes(await encodeCheckpoint(checkpoint));
  treeDispose(state);
  const refused = await fuzz(original, 12, 5000, async (bytes) => {
    treeDispose((await decodeCheckpoint(bytes)).state);
  });
  expect(refused).toBeGreaterThan(2500);
  expect(refused).toBeLessThan(5000);
  expect(tf.memory().numTensors, "tensors leaked").toBe(before);
});
