import {
  type Blocks,
  type CodeBits,
  type ConvertWeightsOptions,
  convertWeights,
  embedding,
  fromBlocks,
  fromPanels,
  fromRoundedMatrix,
  linear,
  type MatrixData,
  type MatrixLayout,
  MIN_GROUP_SIZE,
  plainWeights,
  Rng,
  type Tree,
  toBlocks,
  toPanels,
  treeDispose,
  treeEntries,
  type WeightFormat,
} from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";

const layouts: MatrixLayout[] = ["out-in", "in-out"];
const exact = { atol: 0, rtol: 0 };
const draw = (seed: number, rows: number, columns: number) => new Rng(seed).normal([rows, columns]) as tf.Tensor2D;

const dataOf = (matrix: tf.Tensor2D): MatrixData => ({
  values: matrix.dataSync() as Float32Array,
  shape: matrix.shape,
});

describe("toPanels", () => {
  const panelsOf = (matrix: tf.Tensor2D, layout: MatrixLayout) => {
    const [outputs, inputs] = layout === "out-in" ? matrix.shape : [matrix.shape[1], matrix.shape[0]];
    return tf.tensor(toPanels(dataOf(matrix), layout), [Math.ceil(outputs / 32), inputs, 32]) as tf.Tensor3D;
  };

  for (const layout of layouts) {
    it(`is undone by fromPanels, ${layout}`, async () => {
      for (const [rows, columns] of [
        [64, 7],
        [33, 5],
        [1, 3],
      ] as const) {
        const matrix = layout === "out-in" ? draw(1, rows, columns) : draw(1, columns, rows);
        await expectClose(fromPanels(panelsOf(matrix, layout), rows, layout), matrix, exact, `${rows} outputs`);
      }
    });
  }

  it("keeps the weights of 32 outputs for one input beside each other", async () => {
    const matrix = tf.range(0, 64 * 3).reshape([64, 3]) as tf.Tensor2D;
    const panels = (await panelsOf(matrix, "out-in").array()) as number[][][];
    expect(panels[1]![2]!.slice(0, 3)).toEqual([32 * 3 + 2, 33 * 3 + 2, 34 * 3 + 2]);
  });
});

describe("toBlocks", () => {
  const blocksOf = (matrix: tf.Tensor2D, bits: CodeBits, layout: MatrixLayout): Blocks => {
    const { units, scales } = toBlocks(dataOf(matrix), bits, layout);
    const [outputs, inputs] = layout === "out-in" ? matrix.shape : [matrix.shape[1], matrix.shape[0]];
    const blocks = inputs / MIN_GROUP_SIZE;
    return {
      units: tf.tensor3d(units, [outputs, blocks, (MIN_GROUP_SIZE * bits) / 32], "int32"),
      scales: tf.tensor2d(scales, [outputs, blocks]),
    };
  };

  for (const bits of [4, 8] as CodeBits[]) {
    it(`rounds to half a step of each block, ${bits} bits`, async () => {
      const matrix = draw(2, 6, 3 * MIN_GROUP_SIZE).mul(tf.tensor2d([1, 10, 0.001, 1, 1e4, 0], [6, 1])) as tf.Tensor2D;
      const blocks = blocksOf(matrix, bits, "out-in");
      expect(blocks.units.size * 4 * 8).toBe(matrix.size * bits);
      const back = fromBlocks(blocks, bits, "out-in");
      const scales = blocks.scales.expandDims(2).tile([1, 1, MIN_GROUP_SIZE]).reshape([6, -1]);
      const [lowest, highest] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
      // In steps; what lies beyond the last code is cut off there.
      const exactCodes = matrix.divNoNan(scales).clipByValue(lowest, highest);
      const errors = back.divNoNan(scales).sub(exactCodes).abs();
      expect((await errors.max().data())[0]).toBeLessThanOrEqual(0.5001);
    });

    it(`gives numbers that it can represent back as they are, ${bits} bits`, async () => {
      const half = 2 ** (bits - 1);
      const codes = Array.from({ length: 4 * MIN_GROUP_SIZE }, (_, i) =>
        i % MIN_GROUP_SIZE === 0 ? -half : ((i * 7) % (2 * half)) - half,
      );
      const matrix = tf.tensor2d(
        codes.map((c) => c * 0.25),
        [2, 2 * MIN_GROUP_SIZE],
      );
      await expectClose(fromBlocks(blocksOf(matrix, bits, "out-in"), bits, "out-in"), matrix, exact, "matrix");
      const turned = matrix.transpose<tf.Tensor2D>();
      await expectClose(fromBlocks(blocksOf(turned, bits, "in-out"), bits, "in-out"), turned, exact, "turned");
    });
  }

  it("finds scales of 4 bits that are close to the best ones, and better than those of the largest weights", async () => {
    const weights = new Rng(7).normal([2, 40, MIN_GROUP_SIZE]);
    // Normal weights, and those with rare large ones.
    const mixed = weights.mul(weights.square().square()).concat(weights) as tf.Tensor3D;
    const groups = ((await mixed.array()) as number[][][]).flat();
    const lossOf = (group: number[], scale: number) =>
      group.reduce((sum, w) => sum + (w - scale * Math.max(-8, Math.min(7, Math.round(w / scale)))) ** 2, 0);
    const sums = { found: 0, best: 0, largest: 0 };
    for (const group of groups) {
      const matrix = tf.tensor2d([group]);
      const [scale] = await blocksOf(matrix, 4, "out-in").scales.data();
      const found = lossOf(group, scale!);
      const largest = group.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)) / -8;
      const best = Math.min(...Array.from({ length: 800 }, (_, i) => lossOf(group, largest * (0.6 + i / 1000))));
      expect(found).toBeLessThanOrEqual(lossOf(group, largest) * (1 + 1e-5));
      sums.found += found;
      sums.best += best;
      sums.largest += lossOf(group, largest);
    }
    expect(sums.found / sums.best).toBeLessThan(1.05);
    expect(sums.found / sums.largest).toBeLessThan(0.92);
  });

  it("refuses weights that are not finite", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const values = new Float32Array(64).fill(1);
      values[40] = bad;
      expect(() => toBlocks({ values, shape: [2, 32] }, 4, "out-in")).toThrow(
        "toBlocks: the matrix [2,32] has weights that are NaN or infinite",
      );
    }
  });

  it("refuses inputs that do not fill their blocks", () => {
    expect(() => toBlocks(dataOf(draw(1, 4, 33)), 4, "out-in")).toThrow("33 inputs; expected a multiple of 32");
  });
});

describe("fromRoundedMatrix", () => {
  it("refuses zero points that are not one code for each scale", () => {
    const matrix = (zeroPoints: Uint8Array) =>
      fromRoundedMatrix({
        bits: 4,
        groupSize: 32,
        layout: "out-in",
        codes: new Uint32Array(8),
        scales: new Float32Array(2),
        zeroPoints,
        size: [2, 32],
      });
    const before = tf.memory().numTensors;
    expect(() => matrix(Uint8Array.of(1))).toThrow("1 zero points for 2 scales; expected as many");
    expect(() => matrix(Uint8Array.of(15, 16))).toThrow("the zero point 16 in 4 bits; expected at most 15");
    expect(tf.memory().numTensors).toBe(before);
  });
});

describeOnEngines("convertWeights", (engine, name) => {
  const model = () => ({
    embedding: { weight: draw(1, 70, 64) },
    layer: { weight: draw(2, 64, 96), bias: new Rng(3).normal([96]) as tf.Tensor1D },
    odd: { weight: draw(4, 10, 65) },
    rest: [draw(5, 3, 3)],
  });
  type Model = ReturnType<typeof model>;
  const layoutOf = (path: string): MatrixLayout | undefined =>
    path.startsWith("rest") ? undefined : path === "layer.weight" ? "in-out" : "out-in";
  const forward = ({ embedding: table, layer }: Model, ids: tf.Tensor2D) =>
    tf.tidy(() => {
      const x = embedding(table, ids).reshape([-1, 64]);
      const y = tf.matMul(x, layer.weight).add(layer.bias).slice([0, 0], [-1, 64]);
      return { y, logits: linear(table, y) };
    });

  for (const format of ["panels", "int8", "int4"] as WeightFormat[]) {
    for (const shape of [
      [1, 1],
      [2, 3],
    ] as [number, number][]) {
      it(`computes what the plain form does: ${format}, ids ${shape}`, async () => {
        const params = model();
        const converted = await convertWeights(params, { format, layoutOf });
        const ids = tf.tensor2d([69, 0, 33, 5, 31, 32].slice(0, shape[0] * shape[1]), shape, "int32");
        const fast = engine().compile((p: Tree, ids: tf.Tensor2D) =>
          tf.tidy(() => forward(plainWeights<Model>(p), ids)),
        );
        const plain = engine().compile(forward);
        const unpack = engine().compile((p: Tree) => tf.tidy(() => plainWeights<Model>(p) as never));
        const rounded = (await unpack(converted)) as Model;
        if (format === "panels") {
          for (const [path, tensor] of treeEntries(rounded)) {
            const original = treeEntries(params).find(([other]) => other === path)![1];
            await expectClose(tensor, original, exact, path);
          }
        } else {
          await expectClose(rounded.odd.weight, params.odd.weight, exact, "65 inputs, left alone");
        }
        const got = await fast(converted, ids);
        const want = await plain(rounded, ids);
        // ONNX Runtime rounds activations to 8 bits for the products with rounded weights.
        const atol = format === "panels" ? 1e-3 : name.startsWith("onnx") ? 2 : 1e-3;
        await expectClose(got.y, want.y, { atol, rtol: 1e-3 }, "after the linear layer");
        if (format === "panels") await expectClose(got.logits, want.logits, { atol: 1e-2, rtol: 1e-3 }, "logits");
        else await expectSimilar(got.logits, want.logits);
        for (const fn of [fast, plain, unpack]) fn.dispose();
      });
    }
  }

  it("needs no more memory than one model if it consumes, and leaks nothing", async () => {
    const before = tf.memory().numTensors;
    const kept = model();
    const converted = await convertWeights(kept, { format: "int4", layoutOf });
    expect(treeEntries(kept).every(([, t]) => !t.isDisposed)).toBe(true);
    expect(Object.isFrozen(converted) && !Object.isFrozen(kept)).toBe(true);
    treeDispose([kept, converted]);
    expect(tf.memory().numTensors).toBe(before);
    const consumed = model();
    const other = await convertWeights(consumed, { format: "panels", layoutOf, consume: true });
    expect(consumed.layer.weight.isDisposed).toBe(true);
    treeDispose(other);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("leaves matrices that are converted already as they are", async () => {
    const before = tf.memory().numTensors;
    const once = await convertWeights(
      { a: draw(1, 64, 1024), b: draw(2, 3, 32) },
      {
        format: "int4",
        layoutOf: () => "out-in",
        formatOf: (path, format) => (path === "a" ? format : undefined),
        consume: true,
      },
    );
    const twice = await convertWeights(once, { format: "int8", layoutOf: () => "out-in" });
    expect(twice).toMatchObject({ a: { converted: "int4" }, b: { converted: "int8" } });
    const [codes, same] = [once, twice].map((tree) => (tree as { a: Blocks }).a.units.dataSync());
    expect(same).toEqual(codes);
    treeDispose([once, twice]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("takes the largest blocks up to those asked for that divide the inputs", async () => {
    const params = Object.fromEntries([96, 64, 128, 256].map((inputs) => [inputs, draw(inputs, 5, inputs)]));
    const sizes = async (options: Pick<ConvertWeightsOptions, "format" | "groupSize">) => {
      const converted = (await convertWeights(params, { ...options, layoutOf: () => "out-in" })) as Record<
        string,
        Blocks
      >;
      const found = Object.entries(converted).map(([inputs, { scales }]) => Number(inputs) / scales.shape[1]);
      treeDispose(converted);
      return found;
    };
    expect(await sizes({ format: "int8" })).toEqual([64, 32, 128, 128]);
    expect(await sizes({ format: "int4" })).toEqual([64, 32, 64, 64]);
    expect(await sizes({ format: "int4", groupSize: 128 })).toEqual([64, 32, 128, 128]);
    expect(await sizes({ format: "int8", groupSize: 64 })).toEqual([64, 32, 64, 64]);
  });

  it("names the matrix that cannot be rounded, and leaves nothing behind", async () => {
    const before = tf.memory().numTensors;
    const params = { h: [{ weight: draw(1, 2, 64) }, { weight: tf.fill([3, 64], Number.NaN) as tf.Tensor2D }] };
    await expect(convertWeights(params, { format: "int4", layoutOf: () => "out-in" })).rejects.toThrow(
      "convertWeights: h.1.weight [3,64] has weights that are NaN or infinite; expected numbers",
    );
    treeDispose(params);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses other sizes of groups", async () => {
    const params = { weight: draw(1, 5, 96) };
    await expect(
      convertWeights(params, { format: "int8", groupSize: 48 as never, layoutOf: () => "out-in" }),
    ).rejects.toThrow("convertWeights: groupSize is 48; expected one of 32, 64, 128");
    treeDispose(params);
  });

  it.each([64, 128] as const)("multiplies with blocks of %i", async (groupSize) => {
    const params = { table: { weight: draw(1, 40, 256) } };
    for (const format of ["int8", "int4"] as const) {
      const converted = await convertWeights(params, { format, groupSize, layoutOf: () => "out-in" });
      const multiply = (p: typeof params, x: tf.Tensor2D, ids: tf.Tensor1D) => ({
        product: linear(p.table, x),
        rows: embedding(p.table, ids),
      });
      const fast = engine().compile((p: Tree, x: tf.Tensor2D, ids: tf.Tensor1D) =>
        tf.tidy(() => multiply(plainWeights(p), x, ids)),
      );
      const [x, ids] = [draw(2, 1, 256), tf.tensor1d([39, 0], "int32")];
      const want = tf.tidy(() => multiply(plainWeights<typeof params>(converted), x, ids));
      const got = await fast(converted, x, ids);
      await expectClose(got.rows, want.rows, { atol: 1e-6, rtol: 0 }, "rows");
      await expectSimilar(got.product, want.product);
      await expectSimilar(got.product, multiply(params, x, ids).product, format === "int8" ? 0.999 : 0.98);
      fast.dispose();
    }
  });

  it.each([
    [4, 3, "out-in"],
    [4, 4, "in-out"],
    [8, 3, "out-in"],
  ] as const)("multiplies with zero points anywhere, in %i bits and %i groups", async (bits, groups, layout) => {
    const [outputs, inputs] = [40, groups * 32];
    const rng = new Rng(bits);
    const integers = (size: number, high: number) => rng.draw({ kind: "integers", size, low: 0, high });
    const rounded = fromRoundedMatrix({
      bits,
      groupSize: 32,
      layout,
      codes: Uint32Array.from({ length: (outputs * inputs * bits) / 32 }, () => {
        const [low, high] = integers(2, 2 ** 16);
        return low! + 2 ** 16 * high!;
      }),
      scales: (await rng.normal([outputs * groups]).data()) as Float32Array,
      zeroPoints: Uint8Array.from(integers(outputs * groups, 2 ** bits)),
      size: [outputs, inputs],
    });
    const params = { table: { weight: rounded }, bias: rng.normal([outputs]) };
    type Params = { table: { weight: tf.Tensor2D }; bias: tf.Tensor1D };
    const multiply = ({ table, bias }: Params, x: tf.Tensor2D, ids: tf.Tensor1D) => ({
      product: tf.matMul(x, table.weight, false, layout === "out-in").add(bias),
      ...(layout === "out-in" && { rows: embedding(table, ids) }),
    });
    const fast = engine().compile((p: Tree, x: tf.Tensor2D, ids: tf.Tensor1D) =>
      tf.tidy(() => multiply(plainWeights(p), x, ids)),
    );
    const [x, ids] = [draw(2, 1, inputs), tf.tensor1d([39, 0], "int32")];
    const want = tf.tidy(() => multiply(plainWeights<Params>(params), x, ids));
    const got = await fast(params, x, ids);
    if (want.rows) await expectClose(got.rows!, want.rows, { atol: 1e-5, rtol: 1e-6 }, "rows");
    await expectSimilar(got.product, want.product);
    // Several rows at once go another way.
    const many = draw(3, 5, inputs);
    await expectSimilar(
      (await fast(params, many, ids)).product,
      multiply(plainWeights<Params>(params), many, ids).product,
    );
    fast.dispose();
  });

  it("takes another form for single matrices", async () => {
    const params = model();
    const formatOf = (path: string, format: WeightFormat) =>
      path === "embedding.weight" ? "int8" : path === "odd.weight" ? undefined : format;
    const converted = (await convertWeights(params, { format: "int4", layoutOf, formatOf })) as {
      embedding: { weight: { converted: string } };
      layer: { weight: { converted: string } };
      odd: { weight: tf.Tensor };
    };
    expect(converted.embedding.weight.converted).toBe("int8");
    expect(converted.layer.weight.converted).toBe("int4");
    expect(converted.odd.weight.shape).toEqual([10, 65]);
  });

  it("serves two models of one shape with their own weights", async () => {
    const ids = tf.tensor2d([1], [1, 1], "int32");
    const fast = engine().compile((p: Tree, ids: tf.Tensor2D) => tf.tidy(() => forward(plainWeights<Model>(p), ids).y));
    const results: number[] = [];
    const models: Tree[] = [];
    for (const scale of [1, 2]) {
      const params = model();
      params.layer.weight = params.layer.weight.mul(scale);
      params.layer.bias = params.layer.bias.mul(scale);
      models.push(await convertWeights(params, { format: "int8", layoutOf }));
    }
    for (const which of [0, 1, 0]) results.push((await (await fast(models[which]!, ids)).data())[0]!);
    expect(results[2]).toBe(results[0]);
    expect(results[1]! / results[0]!).toBeCloseTo(2, 3);
    fast.dispose();
  });

  it("looks up the rows of whichever table it is given, and leaves nothing behind", async () => {
    const ids = tf.tensor1d([3, 1], "int32");
    const rows = engine().compile((p: Tree, ids: tf.Tensor1D) =>
      tf.tidy(() => embedding(plainWeights<{ weight: tf.Tensor2D }>(p), ids)),
    );
    for (const format of ["int8", "int4"] as WeightFormat[]) {
      const tables = [draw(1, 6, 64), draw(2, 6, 64)];
      const before = tf.memory().numTensors;
      for (const table of [tables[0]!, tables[1]!, tables[0]!]) {
        const converted = await convertWeights({ weight: table }, { format, layoutOf: () => "out-in" });
        const found = await rows(converted, ids);
        const wanted = tf.gather(table, ids);
        await expectClose(found, wanted, { atol: format === "int8" ? 0.03 : 0.5, rtol: 0 }, format);
        treeDispose([converted, found, wanted]);
      }
      expect(tf.memory().numTensors).toBe(before);
    }
    rows.dispose();
  });

  it("serves other tensors beside the same matrices, where these are constants", async () => {
    const ids = tf.tensor2d([1], [1, 1], "int32");
    const fast = engine().compile((p: Tree, ids: tf.Tensor2D) =>
      tf.tidy(() => forward(plainWeights<Model>(p, { constant: true }), ids).y),
    );
    const first = (await convertWeights(model(), { format: "panels", layoutOf })) as Model;
    const second = { ...first, layer: { ...first.layer, bias: first.layer.bias.add(1) as tf.Tensor1D } };
    const results: number[] = [];
    for (const params of [first, second, first]) results.push((await (await fast(params, ids)).data())[0]!);
    expect(results[2]).toBe(results[0]);
    expect(results[1]! - results[0]!).toBeCloseTo(1, 4);
    fast.dispose();
  });
});

/** Same direction, nearly: for sums of many rounded products. */
async function expectSimilar(a: tf.Tensor, b: tf.Tensor, atLeast = 0.999): Promise<void> {
  const [x, y] = [await a.data(), await b.data()];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += x[i]! * y[i]!;
    xx += x[i]! ** 2;
    yy += y[i]! ** 2;
  }
  expect(xy / Math.sqrt(xx * yy)).toBeGreaterThan(atLeast);
}
