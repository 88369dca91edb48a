import { convertWeights, embedding, gelu, layerNorm, linear, plainWeights, Rng, rmsNorm, type Tree } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { reachableNodes } from "../src/graph/graph.ts";
import { trace } from "../src/trace/trace.ts";

beforeAll(() => tf.setBackend("cpu"));

describe("a step of one token a row", () => {
  const norm = (n: number) => ({ weight: tf.ones([n]) as tf.Tensor1D, bias: tf.zeros([n]) as tf.Tensor1D });
  const params = () => {
    const rng = new Rng(0);
    const matrix = (n: number, k: number) => rng.normal([n, k]) as tf.Tensor2D;
    return {
      table: matrix(40, 32),
      norm: norm(32),
      up: { weight: matrix(64, 32), bias: tf.ones([64]) as tf.Tensor1D },
      down: { weight: matrix(32, 64) },
    };
  };
  type Params = ReturnType<typeof params>;
  const layers = (p: Params, ids: tf.Tensor2D) => {
    const x = embedding({ weight: p.table }, ids);
    const up = gelu(linear(p.up, layerNorm(p.norm, x)));
    return rmsNorm(p.norm, tf.add(x, linear(p.down, up)));
  };

  it("keeps its shape from the embedding on, with rounded weights", async () => {
    const converted = await convertWeights(params(), { format: "int4", layoutOf: () => "out-in" });
    const read = (p: Tree, ids: tf.Tensor2D) => tf.tidy(() => layers(plainWeights<Params>(p), ids));
    const shapesOf = (batch: number, tokens: number) => {
      const { outputs } = trace(read, [converted, tf.zeros([batch, tokens], "int32")]);
      const nodes = reachableNodes(outputs).filter(({ inputs }) => inputs.every((input) => input?.type !== "uint8"));
      return nodes.map(({ op, outputs: [y] }) => `${op} ${y!.shape.join(" ")}`);
    };
    for (const batch of [1, 3]) {
      const shapes = shapesOf(batch, 1);
      expect(shapes.filter((shape) => shape.startsWith("Reshape"))).toEqual([]);
      expect(shapes).toContain(`LayerNormalization ${batch} 1 32`);
      expect(shapes).toContain(`Gelu ${batch} 1 64`);
    }
    expect(shapesOf(2, 3)).toContain("LayerNormalization 6 32");
  });
});
