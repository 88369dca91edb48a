import { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ArraySet, batches, drawDigits, toTensors, twoMoons } from "../src/index.ts";

await tf.setBackend("cpu");

/** n images of 2x2x1 whose pixels are 4i, 4i + 1, ... (mod 256) and whose label is i. */
function numbered(n: number) {
  return {
    images: Uint8Array.from({ length: 4 * n }, (_, i) => i),
    labels: Uint8Array.from({ length: n }, (_, i) => i),
    shape: [n, 2, 2, 1] as const,
  };
}

type LabelStream = { next(): Promise<IteratorResult<{ labels: tf.Tensor; images?: tf.Tensor }, undefined>> };

/** The labels of the next `count` batches; all tensors are disposed of. */
async function labels(stream: LabelStream, count = Number.POSITIVE_INFINITY): Promise<number[][]> {
  const out: number[][] = [];
  while (out.length < count) {
    const { done, value } = await stream.next();
    if (done) break;
    out.push(Array.from(value.labels.dataSync()));
    tf.dispose(value);
  }
  return out;
}

const sorted = (numbers: number[]) => [...numbers].sort((a, b) => a - b);
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

let tensors: number;
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors).toBe(tensors);
});

describe("toTensors", () => {
  it("gives the whole set in its order, as one batch of all examples is", async () => {
    const table = {
      numeric: Float32Array.of(1, Number.NaN, 3),
      categorical: Int32Array.of(0, 1, -1),
      mask: Uint8Array.of(1, 1, 0, 1, 1, 0),
      shape: [3, 2] as const,
    };
    const sets: ArraySet[] = [numbered(7), drawDigits({ count: 5, rng: new Rng(1), size: 9 }), table];
    sets.push({ ...twoMoons({ count: 6, rng: new Rng(1) }) });
    for (const set of sets) {
      for (const options of [{}, { range: [0, 1] as const }]) {
        const whole = toTensors(set, options) as Record<string, tf.Tensor>;
        const batchSize = Object.values(whole)[0]!.shape[0]!;
        const stream = batches(set, { batchSize, shuffle: false, ...options });
        const batch = (await stream.next()).value as Record<string, tf.Tensor>;
        await stream.return();
        expect(Object.keys(whole)).toEqual(Object.keys(batch));
        for (const [key, tensor] of Object.entries(whole)) {
          expect([tensor.dtype, tensor.shape]).toEqual([batch[key]!.dtype, batch[key]!.shape]);
          expect(tensor.dataSync()).toEqual(batch[key]!.dataSync());
        }
        tf.dispose([whole, batch]);
      }
    }
  });

  it("scales bytes to the range asked for, and shares no memory with the set", () => {
    const set = { images: Uint8Array.of(0, 255, 51, 102, 153), weights: Float32Array.of(1), shape: [1, 5, 1, 1] };
    const { images, labels, weights } = toTensors({ ...set, labels: Uint8Array.of(3) }, { range: [0, 1] });
    for (const [i, x] of images.dataSync().entries()) expect(x).toBeCloseTo([0, 1, 0.2, 0.4, 0.6][i]!, 6);
    set.weights[0] = 2;
    expect(Array.from(weights.dataSync())).toEqual([1]);
    tf.dispose([images, labels, weights]);
  });

  it("refuses sets without examples or arrays, and ranges that are none", () => {
    expect(() => toTensors({ images: new Uint8Array(0), shape: [0, 2, 2, 1] })).toThrow(
      "toTensors: the set has 0 examples",
    );
    expect(() => toTensors({} as ArraySet)).toThrow("toTensors: the set has the fields []");
    expect(() => toTensors(numbered(2), { range: [1, 0] })).toThrow("toTensors: range [1, 0]");
  });
});

describe("batches", () => {
  it("yields float32 NHWC images in [-1, 1] by default, or in the range asked for, and int32 labels", async () => {
    const set = { images: Uint8Array.of(0, 255, 51, 102), labels: Uint8Array.of(7), shape: [1, 2, 2, 1] };
    for (const [range, expected] of [
      [undefined, [-1, 1, -0.6, -0.2]],
      [[0, 1] as const, [0, 1, 0.2, 0.4]],
    ] as const) {
      const stream = batches(set, { batchSize: 1, shuffle: false, ...(range && { range }) });
      const { value } = await stream.next();
      expect(value!.images.shape).toEqual([1, 2, 2, 1]);
      expect(value!.images.dtype).toBe("float32");
      for (const [i, x] of value!.images.dataSync().entries()) expect(x).toBeCloseTo(expected[i]!, 6);
      expect(value!.labels.shape).toEqual([1]);
      expect(value!.labels.dtype).toBe("int32");
      expect(Array.from(value!.labels.dataSync())).toEqual([7]);
      tf.dispose(value!);
      await stream.return();
    }
  });

  it("keeps images and labels together while shuffling", async () => {
    const stream = batches(numbered(60), { batchSize: 7, rng: new Rng(1), epochs: 1, range: [0, 255] });
    for await (const batch of stream) {
      const [pixels, ids] = [batch.images.dataSync(), batch.labels.dataSync()];
      for (const [b, id] of ids.entries())
        expect(Array.from(pixels.subarray(4 * b, 4 * b + 4))).toEqual([0, 1, 2, 3].map((k) => 4 * id + k));
      tf.dispose(batch);
    }
  });

  it("shows every example once per epoch, in a new order each time", async () => {
    const stream = batches(numbered(30), { batchSize: 5, rng: new Rng(1), epochs: 3 });
    expect(stream.batchesPerEpoch).toBe(6);
    const all = (await labels(stream)).flat();
    expect(all).toHaveLength(90);
    const epochs = [all.slice(0, 30), all.slice(30, 60), all.slice(60)];
    for (const epoch of epochs) expect(sorted(epoch)).toEqual(range(30));
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect(epochs[1]).not.toEqual(epochs[2]);
    expect(epochs[0]).not.toEqual(range(30));
  });

  it("leaves out or yields the last, smaller batch", async () => {
    const sizes = async (dropLast: boolean) =>
      (await labels(batches(numbered(10), { batchSize: 4, shuffle: false, dropLast, epochs: 1 }))).map((b) => b.length);
    expect(await sizes(true)).toEqual([4, 4]);
    expect(await sizes(false)).toEqual([4, 4, 2]);
  });

  it("gives the same order for the same seed and another for another", async () => {
    const run = (seed: number) => labels(batches(numbered(50), { batchSize: 10, rng: new Rng(seed) }), 12);
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
  });

  it("goes on bit-identically from a state saved at any place, through JSON", async () => {
    const make = (seed: number) =>
      batches(numbered(20), { batchSize: 6, rng: new Rng(seed), dropLast: false, prefetch: 3 });
    const whole = await labels(make(1), 11);
    for (let place = 0; place <= 10; place++) {
      const first = make(1);
      await labels(first, place);
      await new Promise((resolve) => setTimeout(resolve, 15)); // batches are prepared ahead, and must not count
      const saved = JSON.parse(JSON.stringify(first.state()));
      const second = make(99); // the state brings its own randomness
      await labels(second, 2);
      second.restore(saved);
      expect(await labels(second, 11 - place)).toEqual(whole.slice(place));
      await Promise.all([first.return(), second.return()]);
    }
  });

  it("prepares ahead without changing what comes", async () => {
    const run = async (prefetch: number) => {
      const stream = batches(numbered(24), { batchSize: 5, rng: new Rng(2), epochs: 2, prefetch });
      const out: number[][] = [];
      for await (const batch of stream) {
        out.push(Array.from(batch.labels.dataSync()));
        tf.dispose(batch);
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      return out;
    };
    const plain = await run(0);
    expect(await run(1)).toEqual(plain);
    expect(await run(4)).toEqual(plain);
  });

  it("holds no tensors when a loop is left early, and is then at its end", async () => {
    const stream = batches(numbered(24), { batchSize: 5, rng: new Rng(2), prefetch: 3 });
    for await (const batch of stream) {
      tf.dispose(batch);
      await new Promise((resolve) => setTimeout(resolve, 5));
      break;
    }
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it("applies a transform whose randomness depends on the place only", async () => {
    const make = () =>
      batches(numbered(20), {
        batchSize: 5,
        rng: new Rng(3),
        transform: ({ images, labels }, rng) => ({ labels, x: images.add(rng.normal(images.shape)).mul(2) }),
      });
    const read = async (stream: ReturnType<typeof make>, count: number) => {
      const out: number[][] = [];
      for (let i = 0; i < count; i++) {
        const { value } = await stream.next();
        out.push(Array.from(value!.x.dataSync()));
        tf.dispose(value!);
      }
      return out;
    };
    const whole = await read(make(), 6);
    const stream = make();
    await read(stream, 3);
    const again = make();
    again.restore(stream.state());
    expect(await read(again, 3)).toEqual(whole.slice(3));
    await Promise.all([stream.return(), again.return()]);
  });

  it("batches points and other typed arrays", async () => {
    const stream = batches(
      { ...twoMoons({ count: 10, rng: new Rng(1) }), weights: Float32Array.from(range(10)) },
      { batchSize: 10, shuffle: false },
    );
    const { value } = await stream.next();
    expect(value!.points.shape).toEqual([10, 2]);
    expect(value!.labels.dtype).toBe("int32");
    expect(Array.from(value!.weights.dataSync())).toEqual(range(10));
    tf.dispose(value!);
    await stream.return();
  });

  it("refuses options and states that do not fit", () => {
    const set = numbered(10);
    const rng = new Rng(1);
    expect(() => batches(set, { batchSize: 0, rng })).toThrow("batchSize (0) must be a whole number of at least 1");
    expect(() => batches(set, { batchSize: 11, rng })).toThrow("batchSize (11) must be at most");
    expect(() => batches(set, { batchSize: 5 })).toThrow("rng (undefined) must be an Rng when shuffling");
    expect(() => batches(set, { batchSize: 5, rng, range: [1, 0] })).toThrow("range [1, 0]");
    expect(() => batches(set, { batchSize: 5, rng, epochs: 0.5 })).toThrow("epochs (0.5)");
    expect(() => batches(set, { batchSize: 5, rng, prefetch: -1 })).toThrow("prefetch (-1)");
    expect(() => batches({} as ArraySet, { batchSize: 5, rng })).toThrow("at least one must be a typed array");
    expect(() => batches({ ...set, images: set.images.subarray(1) }, { batchSize: 5, rng })).toThrow(
      "images has 39 values; expected 40, the product of shape [10,2,2,1]",
    );
    expect(() => batches({ ...set, labels: set.labels.subarray(1) }, { batchSize: 5, rng })).toThrow("labels has 9");

    const stream = batches(set, { batchSize: 5, rng });
    const state = stream.state() as object;
    for (const wrong of [null, {}, { ...state, kind: "x" }, { ...state, count: 11 }, { ...state, batchSize: 4 }]) {
      expect(() => stream.restore(wrong)).toThrow("must be of a stream with count 10 and batchSize 5");
    }
    expect(() => stream.restore({ ...state, position: 2 })).toThrow("position (2) must be in [0, 2)");
    expect(() => stream.restore({ ...state, epoch: -1 })).toThrow("epoch (-1)");
    expect(() => stream.restore({ ...state, rng: null })).toThrow("rng (null) must be a state");
    expect(() => stream.restore({ ...state, rng: { algorithm: "mt" } })).toThrow("Rng.fromState");
  });
});
