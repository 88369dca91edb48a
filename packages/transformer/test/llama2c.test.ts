import { createEagerEngine, FormatError, Rng, treeDispose } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { llamaLogits, loadLlama2c, pretrainedLm } from "../src/index.ts";
import { drawLlama2c, type Llama2cSizes, runLlama2c, writeLlama2c } from "./llama2c-reference.ts";

const sizes: Llama2cSizes = {
  dim: 12,
  hidden: 10,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  vocab: 9,
  length: 8,
  tied: true,
};
const tokens = [1, 5, 2, 8, 0, 3];

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describe("loadLlama2c", () => {
  it.each([
    [0, true],
    [0, false],
    [1, true],
    [1, false],
  ] as const)("reads version %i, tied: %s, as a model with the logits of llama2.c", async (version, tied) => {
    const weights = drawLlama2c({ ...sizes, tied }, 1);
    const before = tf.memory().numTensors;
    const model = await loadLlama2c(writeLlama2c({ ...sizes, tied }, weights, version));
    expect(model.config).toMatchObject({ vocabSize: 9, blockSize: 8, nKvHead: 1, tieWordEmbeddings: tied });
    expect(pretrainedLm(model).blockSize).toBe(8);
    const got = llamaLogits(model, tf.tensor2d([tokens], undefined, "int32"));
    const want = tf.tensor3d([runLlama2c({ ...sizes, tied }, weights, tokens)]);
    await expectClose(got, want, { atol: 1e-4, rtol: 1e-4 }, "logits");
    treeDispose(model.params);
    expect(tf.memory().numTensors).toBe(before + 3);
  });

  it("reads bytes that begin anywhere", async () => {
    const bytes = writeLlama2c(sizes, drawLlama2c(sizes, 1), 0);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const model = await loadLlama2c(shifted.subarray(1));
    expect(await model.params.model.norm.weight.data()).toEqual(drawLlama2c(sizes, 1).norm);
  });

  it("says what a file is that it does not read", async () => {
    const bytes = writeLlama2c(sizes, drawLlama2c(sizes, 1), 1);
    new DataView(bytes.buffer).setInt32(4, 2, true);
    await expect(loadLlama2c(bytes)).rejects.toThrow(
      "is of version 2, with 8-bit weights; expected 0 or 1, of float32",
    );
    await expect(loadLlama2c(new Uint8Array(27))).rejects.toThrow("holds 27 bytes; expected a header of 28 at least");
    await expect(loadLlama2c(new Uint8Array(28))).rejects.toThrow("dim is 0; expected a positive number");
    const text = new TextEncoder().encode("<!DOCTYPE html><html><head><title>404</title></head></html>");
    await expect(loadLlama2c(text)).rejects.toThrow(FormatError);
  });

  it("refuses files of another length, and headers of any numbers, without a leak", async () => {
    const rng = new Rng(5);
    const before = tf.memory().numTensors;
    const whole = [0, 1].map((version) => writeLlama2c(sizes, drawLlama2c(sizes, 1), version as 0 | 1));
    for (const bytes of whole) {
      for (let i = 0; i < 40; i++) {
        const end = Math.floor(rng.draw({ kind: "uniform", size: 1, low: 0, high: bytes.length })[0]!);
        await expect(loadLlama2c(bytes.subarray(0, end))).rejects.toThrow(FormatError);
      }
      await expect(loadLlama2c(new Uint8Array([...bytes, 0]))).rejects.toThrow(/holds \d+ bytes; expected \d+ by its/);
      const header = bytes === whole[0] ? 28 : 37;
      for (let i = 0; i < 300; i++) {
        const changed = bytes.slice();
        const view = new DataView(changed.buffer);
        const at = Math.floor(rng.draw({ kind: "uniform", size: 1, low: 0, high: header - 4 })[0]!);
        const value = [0, -1, 1, 3, 7, 2 ** 31 - 1, -(2 ** 31), 65536][i % 8]!;
        view.setInt32(at, value, true);
        const result = await loadLlama2c(changed).catch((error: unknown) => error);
        if (result instanceof Error) expect(result).toBeInstanceOf(FormatError);
        else treeDispose((result as { params: never }).params);
      }
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it("stops when asked", async () => {
    const bytes = writeLlama2c(sizes, drawLlama2c(sizes, 1), 0);
    const before = tf.memory().numTensors;
    await expect(loadLlama2c(bytes, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(tf.memory().numTensors).toBe(before);
  });
});
