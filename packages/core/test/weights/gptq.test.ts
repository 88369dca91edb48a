import {
  type CodeBits,
  convertWeights,
  type GroupSize,
  type MatrixLayout,
  plainWeights,
  Rng,
  type Tree,
  treeDispose,
} from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

/** Inputs of a layer [count, size] that depend on each other: mixtures of few sources, and a little noise. */
function drawInputs(seed: number, count: number, size: number): tf.Tensor2D {
  const rng = new Rng(seed);
  return tf.tidy(() => {
    const sources = rng.normal([count, Math.ceil(size / 8)]) as tf.Tensor2D;
    const mixing = rng.normal([Math.ceil(size / 8), size]) as tf.Tensor2D;
    return tf.add(tf.matMul(sources, mixing), tf.mul(rng.normal([count, size]), 0.3)) as tf.Tensor2D;
  });
}

/** Mean square of what a layer's results [count, outputs] are off by, relative to theirs. */
function lossOf(inputs: tf.Tensor2D, weight: tf.Tensor2D, rounded: tf.Tensor2D): number {
  return tf.tidy(() => {
    const off = tf
      .matMul(inputs, tf.sub(weight, rounded) as tf.Tensor2D, false, true)
      .square()
      .mean();
    return off.div(tf.matMul(inputs, weight, false, true).square().mean()).dataSync()[0]!;
  });
}

/**
 * The same in float64 and without blocks: H = U D U^T column by column, then each weight to the nearest code.
 *
 * @param scales of the groups of each row
 */
function reference(weight: number[][], h: number[][], scales: number[][]): number[][] {
  const size = h.length;
  const mean = h.reduce((sum, row, k) => sum + row[k]!, 0) / size;
  const rest = h.map((row, i) => row.map((x, k) => (i === k ? x + 0.1 * mean : x)));
  const upper = h.map(() => new Array<number>(size).fill(0));
  for (let k = size - 1; k >= 0; k--) {
    for (let i = 0; i <= k; i++) upper[i]![k] = rest[i]![k]! / rest[k]![k]!;
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) rest[i]![j]! -= upper[i]![k]! * upper[j]![k]! * rest[k]![k]!;
    }
  }
  return weight.map((row, n) => {
    const rounded: number[] = [];
    for (let k = 0; k < size; k++) {
      const target = row[k]! + rounded.reduce((sum, w, j) => sum + (row[j]! - w) * upper[j]![k]!, 0);
      const scale = scales[n]![Math.floor((k * scales[n]!.length) / size)]!;
      rounded.push(Math.max(-8, Math.min(7, Math.round(target / scale))) * scale);
    }
    return rounded;
  });
}

describeOnEngines("convertWeights with a calibration", (engine) => {
  const round = async (
    weight: tf.Tensor2D,
    gram: tf.Tensor2D | undefined,
    { bits = 4, groupSize, layout = "out-in" }: { bits?: CodeBits; groupSize?: GroupSize; layout?: MatrixLayout } = {},
  ): Promise<tf.Tensor2D> => {
    const turned = layout === "in-out";
    const params = { layer: { weight: turned ? tf.transpose(weight) : weight } };
    const converted = await convertWeights(params, {
      format: bits === 4 ? "int4" : "int8",
      layoutOf: () => layout,
      ...(groupSize && { groupSize }),
      calibration: { engine: engine(), gramOf: (path) => (path === "layer.weight" ? gram : undefined) },
    });
    const plain = tf.tidy(() => {
      const { weight } = plainWeights<{ layer: { weight: tf.Tensor2D } }>(converted).layer;
      return turned ? tf.transpose(weight) : weight.clone();
    });
    treeDispose([converted, turned ? params : undefined]);
    return plain as tf.Tensor2D;
  };

  it("changes a layer's results less than rounding each weight does", async () => {
    for (const [seed, outputs, inputs, bits, groupSize] of [
      [1, 24, 160, 4, 32],
      [2, 7, 256, 4, 64],
      [3, 12, 384, 4, 128],
      [4, 5, 320, 4, 64],
      [5, 9, 160, 8, 32],
    ] as const) {
      const weight = new Rng(seed).normal([outputs, inputs]) as tf.Tensor2D;
      const x = drawInputs(seed + 10, 2 * inputs, inputs);
      const gram = tf.matMul(x, x, true, false) as tf.Tensor2D;
      const nearest = await round(weight, undefined, { bits, groupSize });
      const calibrated = await round(weight, gram, { bits, groupSize });
      const name = `${outputs} x ${inputs} in ${bits} bits, groups of ${groupSize}`;
      expect(lossOf(x, weight, calibrated), name).toBeLessThan(0.5 * lossOf(x, weight, nearest));
      treeDispose([weight, x, gram, nearest, calibrated]);
    }
  });

  it("rounds as the algorithm without blocks does", async () => {
    // Groups of 32 in three blocks of 128, 128 and 64 columns; the reference takes over the scales.
    const [outputs, inputs] = [6, 320];
    const weight = new Rng(8).normal([outputs, inputs]) as tf.Tensor2D;
    const x = drawInputs(9, 700, inputs);
    const gram = tf.matMul(x, x, true, false) as tf.Tensor2D;
    const converted = (await convertWeights(
      { weight },
      {
        format: "int4",
        groupSize: 32,
        layoutOf: () => "out-in",
        calibration: { engine: engine(), gramOf: () => gram },
      },
    )) as { weight: { scales: tf.Tensor2D } };
    const got = tf.tidy(() => plainWeights<{ weight: tf.Tensor2D }>(converted).weight.clone());
    const scales = (await converted.weight.scales.array()) as number[][];
    const expected = reference(await weight.array(), await gram.array(), scales);
    const same = ((await got.array()) as number[][]).flat().filter((w, i) => Math.abs(w - expected.flat()[i]!) < 1e-4);
    // Float32 may tip one that lies half way between two codes, and with it others of its row.
    expect(same.length / weight.size).toBeGreaterThan(0.98);
    treeDispose([weight, x, gram, converted, got]);
  });

  it("rounds each weight to the nearest code where inputs have nothing to do with each other, or are always zero", async () => {
    const weight = new Rng(1).normal([6, 192]) as tf.Tensor2D;
    const nearest = await round(weight, undefined, { groupSize: 64 });
    for (const gram of [tf.eye(192), tf.zeros([192, 192])] as tf.Tensor2D[]) {
      const calibrated = await round(weight, gram, { groupSize: 64 });
      await expectClose(calibrated, nearest, { atol: 0, rtol: 0 }, "weights");
      treeDispose([gram, calibrated]);
    }
    treeDispose([weight, nearest]);
  });

  it("gives the same whichever way round a matrix lies", async () => {
    const weight = new Rng(3).normal([10, 160]) as tf.Tensor2D;
    const x = drawInputs(4, 300, 160);
    const gram = tf.matMul(x, x, true, false) as tf.Tensor2D;
    const [one, other] = [await round(weight, gram), await round(weight, gram, { layout: "in-out" })];
    await expectClose(other, one, { atol: 0, rtol: 0 }, "weights");
    treeDispose([weight, x, gram, one, other]);
  });

  it("rounds the rows of large matrices as it does alone", async () => {
    const weight = new Rng(3).normal([4099, 32]) as tf.Tensor2D;
    const x = drawInputs(4, 90, 32);
    const gram = tf.matMul(x, x, true, false) as tf.Tensor2D;
    const whole = await round(weight, gram);
    for (const [first, count] of [
      [0, 3],
      [2045, 10],
      [4090, 9],
    ] as const) {
      const alone = await round(tf.slice(weight, [first, 0], [count, 32]), gram);
      await expectClose(tf.slice(whole, [first, 0], [count, 32]), alone, { atol: 0, rtol: 0 }, `rows from ${first}`);
    }
  });

  it("refuses Gram matrices that are not finite or of another size, and what is aborted, and leaves nothing behind", async () => {
    const params: Tree = { a: { weight: tf.ones([4, 32]) } };
    const before = tf.memory().numTensors;
    const rounded = (gram: tf.Tensor, signal?: AbortSignal) =>
      convertWeights(params, {
        format: "int4",
        layoutOf: () => "out-in",
        calibration: { engine: engine(), gramOf: () => gram as tf.Tensor2D, signal },
      });
    const grams = [tf.fill([32, 32], Number.NaN), tf.ones([16, 16]), tf.eye(32)] as const;
    await expect(rounded(grams[0])).rejects.toThrow(
      "convertWeights: a.weight [4,32] has inputs that are NaN or infinite in the text that it is calibrated with",
    );
    await expect(rounded(grams[1])).rejects.toThrow(
      "convertWeights: a.weight [4,32] has a Gram matrix of 256 numbers; expected 32 x 32",
    );
    await expect(rounded(grams[2], AbortSignal.abort())).rejects.toThrow("aborted");
    treeDispose(grams);
    expect(tf.memory().numTensors).toBe(before);
  });
});
