import { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { textWindows } from "../src/index.ts";

await tf.setBackend("cpu");

const ids = Int32Array.from({ length: 50 }, (_, i) => 3 * i);
const make = (seed: number) => textWindows(ids, { batchSize: 4, blockSize: 8, rng: new Rng(seed) });

async function rows(stream: ReturnType<typeof make>, count: number): Promise<number[][]> {
  const out: number[][] = [];
  for (let i = 0; i < count; i++) {
    const { value } = await stream.next();
    out.push([...value!.tokens.dataSync(), ...value!.targets.dataSync()]);
    tf.dispose([value!.tokens, value!.targets]);
  }
  return out;
}

describe("textWindows", () => {
  it("yields int32 windows and their successors", async () => {
    const before = tf.memory().numTensors;
    const { value } = await make(1).next();
    const { tokens, targets } = value!;
    expect([tokens.shape, targets.shape, tokens.dtype, targets.dtype]).toEqual([[4, 8], [4, 8], "int32", "int32"]);
    const [x, y] = [tokens.arraySync(), targets.arraySync()];
    for (const [b, row] of x.entries()) {
      expect(row).toEqual(Array.from({ length: 8 }, (_, t) => row[0]! + 3 * t));
      expect(y[b]).toEqual(row.map((id) => id + 3));
    }
    tf.dispose([tokens, targets]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("reaches the first and the last window", async () => {
    const short = textWindows(ids.subarray(0, 10), { batchSize: 64, blockSize: 8, rng: new Rng(1) });
    const { value } = await short.next();
    const starts = new Set(value!.tokens.slice([0, 0], [64, 1]).dataSync());
    expect([...starts].sort()).toEqual([0, 3]);
  });

  it("goes on bit-identically from a saved state", async () => {
    const whole = await rows(make(1), 8);
    const stream = make(1);
    await rows(stream, 5);
    const again = make(7);
    again.restore(JSON.parse(JSON.stringify(stream.state())));
    expect(await rows(again, 3)).toEqual(whole.slice(5));
    expect(await rows(make(7), 8)).not.toEqual(whole);
  });

  it("ends by return, and refuses texts, sizes and states that do not fit", async () => {
    const stream = make(1);
    await stream.return();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    const rng = new Rng(1);
    expect(() => textWindows(ids.subarray(0, 8), { batchSize: 1, blockSize: 8, rng })).toThrow(
      "textWindows: ids has 8 tokens; expected at least blockSize + 1 (9)",
    );
    expect(() => textWindows(ids, { batchSize: 0, blockSize: 8, rng })).toThrow("batchSize (0)");
    expect(() => make(1).restore({ kind: "batches" })).toThrow("must be of a stream over 50 tokens");
  });
});
