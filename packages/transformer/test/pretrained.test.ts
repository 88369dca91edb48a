import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  collectBytes,
  concatBytes,
  createEagerEngine,
  encodeSafetensors,
  Rng,
  treeDispose,
  treeEntries,
} from "@genai/core";
import { expectClose, type GoldenModel, loadGoldenModel } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  bertClassLogits,
  bertHidden,
  bertMaskedLmLogits,
  createBert,
  createGpt2,
  createLlama,
  createT5,
  encodePretrained,
  gpt2Logits,
  type LlamaConfig,
  llamaLogits,
  loadPretrained,
  type PretrainedModel,
  pretrainedLm,
  savePretrained,
  t5Logits,
} from "../src/index.ts";

const golden: Record<string, GoldenModel> = {};
let folder: string;
beforeAll(async () => {
  await createEagerEngine("cpu");
  for (const name of ["gpt2", "llama", "bert"]) golden[name] = await loadGoldenModel(`${name}_tiny`);
  folder = await mkdtemp(join(tmpdir(), "pretrained-"));
});
afterAll(() => rm(folder, { recursive: true }));

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** The files of a model in memory. */
async function files(config: object, weights: Record<string, tf.Tensor>): Promise<Record<string, Uint8Array>> {
  return {
    "config.json": json(config),
    "model.safetensors": concatBytes(await encodeSafetensors(Object.entries(weights))),
  };
}

/** What `encodePretrained` gives. */
async function encoded(...args: Parameters<typeof encodePretrained>): Promise<Record<string, Uint8Array>> {
  const out: Record<string, Uint8Array> = {};
  for await (const { file, chunks } of encodePretrained(...args)) out[file] = await collectBytes(chunks);
  return out;
}

/** The logits of a loaded model for its golden inputs. */
function logits(model: PretrainedModel, inputs: Record<string, tf.Tensor>): tf.Tensor {
  const ids = inputs.input_ids as tf.Tensor2D;
  switch (model.architecture) {
    case "gpt2":
      return gpt2Logits(model, ids);
    case "llama":
      return llamaLogits(model, ids);
    case "bert":
      return bertMaskedLmLogits(model, ids, {
        attentionMask: inputs.attention_mask as tf.Tensor2D,
        tokenTypes: inputs.token_type_ids as tf.Tensor2D,
      });
    case "t5":
      return t5Logits(model, ids, ids);
  }
}

const check = async (model: PretrainedModel, want: GoldenModel, tolerance = want.tolerance) => {
  const got = logits(model, want.inputs);
  await expectClose(got, want.outputs.logits!, tolerance, "logits");
};

describe("loadPretrained", () => {
  it.each(["gpt2", "llama", "bert"])("reads published files of %s, in memory", async (name) => {
    const want = golden[name]!;
    const model = await loadPretrained(await files(want.config, want.weights));
    expect(model.architecture).toBe(name);
    await check(model, want);
  });

  it("reads a folder on disk and an address", async () => {
    const want = golden.llama!;
    const all = await files(want.config, want.weights);
    for (const [name, bytes] of Object.entries(all)) await writeFile(join(folder, name), bytes);
    await check(await loadPretrained(folder), want);
    await check(await loadPretrained(`${folder}/`), want);
    const server = createServer((request, response) => {
      const bytes = all[request.url!.replace("/org/model/", "")];
      response.statusCode = bytes ? 200 : 404;
      response.end(bytes);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/org`;
      await check(await loadPretrained(`${address}/model`), want);
      await check(await loadPretrained(new URL(`${address}/model/`)), want);
      await expect(loadPretrained(`${address}/other`)).rejects.toThrow("404");
    } finally {
      server.close();
    }
  });

  it("knows the names of other versions of the files", async () => {
    const gpt2 = Object.fromEntries(
      Object.entries(golden.gpt2!.weights).map(([name, x]) => [`transformer.${name}`, x] as const),
    );
    const mask = tf.ones([1, 1, 24, 24]);
    const withExtras = {
      ...gpt2,
      "transformer.h.0.attn.bias": mask,
      "lm_head.weight": gpt2["transformer.wte.weight"]!,
    };
    await check(await loadPretrained(await files(golden.gpt2!.config, withExtras)), golden.gpt2!);

    const old = Object.entries(golden.bert!.weights).map(
      ([name, x]) =>
        [name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"), x] as const,
    );
    const bert = { ...Object.fromEntries(old), "cls.seq_relationship.bias": tf.zeros([2]) };
    await check(await loadPretrained(await files(golden.bert!.config, bert)), golden.bert!);

    const bare = Object.entries(golden.bert!.weights)
      .filter(([name]) => name.startsWith("bert."))
      .map(([name, x]) => [name.replace("bert.", ""), x] as const);
    const encoder = await loadPretrained(await files(golden.bert!.config, Object.fromEntries(bare)));
    if (encoder.architecture !== "bert") throw new Error("expected a bert");
    expect(encoder.config).toMatchObject({ maskedLmHead: false, pooler: false });
    const { input_ids, attention_mask, token_type_ids } = golden.bert!.inputs as Record<string, tf.Tensor2D>;
    const hidden = bertHidden(encoder, input_ids!, { attentionMask: attention_mask!, tokenTypes: token_type_ids! });
    await expectClose(hidden, golden.bert!.outputs.last_hidden_state!, golden.bert!.tolerance, "last_hidden_state");
  });

  it("lists all that does not fit at once, and leaks nothing", async () => {
    const { "wpe.weight": wpe, "h.1.ln_1.bias": _, "h.0.mlp.c_fc.bias": __, ...rest } = golden.gpt2!.weights;
    const wrong = {
      ...rest,
      "wpe.weight": wpe!.slice([0, 0], [20, 32]),
      "h.2.ln_1.weight": tf.ones([32]),
      "h.0.ln_1.weight": tf.ones([32], "int32"),
    };
    const source = await files(golden.gpt2!.config, wrong);
    const before = tf.memory().numTensors;
    const error = await loadPretrained(source).catch((error: Error) => error);
    expect(tf.memory().numTensors).toBe(before);
    const { message } = error as Error;
    expect(message).toContain("loadPretrained: the weights of the files do not fit its config.json");
    expect(message).toContain("missing (2): h.0.mlp.c_fc.bias [128]; h.1.ln_1.bias [32]");
    expect(message).toContain("not expected (1): h.2.ln_1.weight [32]");
    expect(message).toContain("of another shape (1): wpe.weight [20,32], expected [24,32]");
    expect(message).toContain("of another type (1): h.0.ln_1.weight I32");
  });

  it("refuses configurations that compute something else", async () => {
    const load = async (name: string, change: object) =>
      loadPretrained(await files({ ...golden[name]!.config, ...change }, golden[name]!.weights));
    await expect(load("gpt2", { scale_attn_by_inverse_layer_idx: true })).rejects.toThrow(
      "scale_attn_by_inverse_layer_idx is true; expected false",
    );
    await expect(load("gpt2", { n_head: undefined })).rejects.toThrow("n_head is undefined; expected a number");
    await expect(load("llama", { rope_scaling: { rope_type: "mrope" } })).rejects.toThrow("of type mrope");
    await expect(load("llama", { quantization_config: { bits: 4 } })).rejects.toThrow("quantization_config");
    await expect(load("llama", { model_type: "mamba" })).rejects.toThrow('model_type is "mamba"; expected one of gpt2');
    await expect(load("bert", { is_decoder: true })).rejects.toThrow("is_decoder is true; expected false");
  });

  it("says which file is missing or is no JSON", async () => {
    const all = await files(golden.gpt2!.config, golden.gpt2!.weights);
    const { "config.json": config, "model.safetensors": weights } = all;
    await expect(loadPretrained({ "model.safetensors": weights! })).rejects.toThrow("there is no config.json");
    await expect(loadPretrained({ "config.json": config! })).rejects.toThrow(
      "has no weights; expected model.safetensors",
    );
    await expect(loadPretrained({ "config.json": json([1]) })).rejects.toThrow("is no JSON record");
    await expect(loadPretrained({ "config.json": weights! })).rejects.toThrow("is not valid JSON");
    await expect(loadPretrained(join(folder, "nothing"))).rejects.toThrow("ENOENT");
  });

  it("tells how far it is and stops when asked", async () => {
    const all = await files(golden.gpt2!.config, golden.gpt2!.weights);
    const seen: number[] = [];
    const abort = new AbortController();
    const before = tf.memory().numTensors;
    const loading = loadPretrained(all, {
      signal: abort.signal,
      onProgress: ({ loadedParams, totalParams }) => {
        seen.push(loadedParams / totalParams);
        if (seen.length === 3) abort.abort();
      },
    });
    await expect(loading).rejects.toThrow(/abort/i);
    expect(seen).toHaveLength(3);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("pretrainedLm", () => {
  it("gives the functions of a causal model, and of no other", async () => {
    for (const name of ["gpt2", "llama"]) {
      const want = golden[name]!;
      const model = await loadPretrained(await files(want.config, want.weights));
      const lm = pretrainedLm(model);
      expect(lm.vocabSize).toBe(want.config.vocab_size);
      const got = lm.logits(model.params, want.inputs.input_ids as tf.Tensor2D);
      await expectClose(got, want.outputs.logits!, want.tolerance, "logits");
    }
    const bert = await loadPretrained(await files(golden.bert!.config, golden.bert!.weights));
    expect(() => pretrainedLm(bert)).toThrow("pretrainedLm: bert is no causal language model; expected gpt2 or llama");
  });
});

describe("savePretrained", () => {
  it.each([
    ["F32", { atol: 2e-5, rtol: 2e-4 }],
    ["F16", { atol: 2e-2, rtol: 2e-2 }],
    ["BF16", { atol: 2e-1, rtol: 1e-1 }],
  ] as const)("writes shards in %s that load as the same model", async (dtype, tolerance) => {
    const want = golden.llama!;
    const model = await loadPretrained(await files({ ...want.config, custom: [1] }, want.weights));
    const path = join(folder, dtype);
    await savePretrained(path, model, { dtype, maxShardBytes: 20_000 });
    const names = await readdir(path);
    expect(names.length).toBeGreaterThan(3);
    expect(names).toContain("model.safetensors.index.json");
    const config = JSON.parse(await readFile(join(path, "config.json"), "utf8"));
    expect(config).toMatchObject({ ...want.config, custom: [1], architectures: ["LlamaForCausalLM"] });
    const copy = await loadPretrained(path);
    expect(copy.config).toEqual(model.config);
    await check(copy, want, tolerance);
    // Written again as one file, no shard of before is left to be taken for the model.
    await savePretrained(path, model);
    expect((await readdir(path)).sort()).toEqual(["config.json", "model.safetensors"]);
  });

  it("keeps published names and layouts", async () => {
    for (const name of ["gpt2", "llama", "bert"]) {
      const want = golden[name]!;
      const model = await loadPretrained(await files(want.config, want.weights));
      const again = await encoded(model);
      expect([...(await loadedNames(again))].sort()).toEqual(
        Object.entries(want.weights)
          .map(([name, { shape }]) => `${name} ${shape}`)
          .sort(),
      );
      const config = JSON.parse(new TextDecoder().decode(again["config.json"]));
      // What the file had is still there, as the reader of it understood it.
      expect(config).toMatchObject(want.config);
    }
  });

  it("brings every architecture back with its options", async () => {
    const rng = new Rng(1);
    const llama: LlamaConfig = {
      vocabSize: 11,
      blockSize: 8,
      nEmbd: 8,
      nHead: 2,
      nKvHead: 1,
      nLayer: 1,
      nInner: 6,
      headDim: 4,
      ropeTheta: 10000,
      rmsNormEps: 1e-6,
      qkvBias: false,
      outBias: false,
      mlpBias: false,
      tieWordEmbeddings: true,
      dropout: 0,
    };
    const plain = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1 };
    const bert = {
      ...plain,
      nInner: 12,
      typeVocabSize: 2,
      layerNormEps: 1e-12,
      activation: "gelu",
      dropout: 0,
    } as const;
    const models: PretrainedModel[] = [
      {
        architecture: "gpt2",
        ...createGpt2(
          { ...plain, nInner: 12, dropout: 0, layerNormEps: 1e-5, activation: "relu", tieWordEmbeddings: false },
          rng,
        ),
      },
      { architecture: "llama", ...createLlama(llama, rng) },
      { architecture: "llama", ...createLlama({ ...llama, slidingWindow: 3, tieWordEmbeddings: false }, rng) },
      { architecture: "llama", ...createLlama({ ...llama, qkvBias: true, slidingWindow: 3 }, rng) },
      { architecture: "llama", ...createLlama({ ...llama, qkvBias: true, outBias: true, mlpBias: true }, rng) },
      ...(
        [
          { type: "linear", factor: 2 },
          { type: "dynamic", factor: 2, originalBlockSize: 4 },
          { type: "llama3", factor: 2, lowFreqFactor: 1, highFreqFactor: 4, originalBlockSize: 4 },
          { type: "yarn", factor: 2, originalBlockSize: 4 },
          {
            type: "yarn",
            factor: 2,
            originalBlockSize: 4,
            betaFast: 4,
            betaSlow: 2,
            attentionFactor: 3,
            truncate: false,
          },
          { type: "longrope", factor: 2, originalBlockSize: 4, shortFactors: [1, 2], longFactors: [3, 4] },
        ] as const
      ).map((ropeScaling) => ({ architecture: "llama" as const, ...createLlama({ ...llama, ropeScaling }, rng) })),
      { architecture: "bert", ...createBert({ ...bert, maskedLmHead: false, pooler: true, labels: 3 }, rng) },
      { architecture: "bert", ...createBert({ ...bert, maskedLmHead: true, pooler: false }, rng) },
      ...(["relu", "gated-gelu"] as const).map((feedForward) => ({
        architecture: "t5" as const,
        ...createT5(
          {
            vocabSize: 11,
            nEmbd: 8,
            nHead: 2,
            headDim: 3,
            nInner: 6,
            nLayer: 2,
            nDecoderLayer: 1,
            buckets: 8,
            maxDistance: 20,
            layerNormEps: 1e-6,
            feedForward,
            tieWordEmbeddings: feedForward === "relu",
            decoderStartId: 0,
            dropout: 0,
          },
          rng,
        ),
      })),
    ];
    const ids = tf.tensor2d([[1, 2, 3, 4, 5, 6]], undefined, "int32");
    for (const model of models) {
      const copy = await loadPretrained(await encoded(model));
      expect(copy.config).toEqual(model.config);
      const run = (m: PretrainedModel) =>
        m.architecture === "bert" && m.config.labels ? bertClassLogits(m, ids) : logits(m, { input_ids: ids });
      expect(await run(copy).data()).toEqual(await run(model).data());
      treeDispose([copy.params, model.params]);
    }
  });

  it("writes zeros for the biases that a GPT-2 goes without", async () => {
    const config = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1, bias: false };
    const model: PretrainedModel = { architecture: "gpt2", ...createGpt2(config, new Rng(1)) };
    const ids = tf.tensor2d([[1, 2, 3]], undefined, "int32");
    const before = tf.memory().numTensors;
    const bytes = await encoded(model);
    expect(tf.memory().numTensors).toBe(before);
    const copy = await loadPretrained(bytes);
    if (copy.architecture !== "gpt2") throw new Error("expected a gpt2");
    expect(treeEntries(copy.params).length).toBe(treeEntries(model.params).length + 7);
    expect(await gpt2Logits(copy, ids).data()).toEqual(await gpt2Logits(model, ids).data());
  });

  it("refuses options that no published architecture has", async () => {
    const config = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1, nInner: 6, outBias: true };
    const model: PretrainedModel = { architecture: "llama", ...createLlama(config, new Rng(1)) };
    await expect(encoded(model)).rejects.toThrow("no published architecture has qkvBias (false), outBias (true)");
  });
});

async function loadedNames(files: Record<string, Uint8Array>): Promise<string[]> {
  const bytes = files["model.safetensors"]!;
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  expect(header.__metadata__).toEqual({ format: "pt" });
  const { __metadata__: _, ...tensors } = header as Record<string, { shape: number[] }>;
  return Object.entries(tensors).map(([name, { shape }]) => `${name} ${shape}`);
}
