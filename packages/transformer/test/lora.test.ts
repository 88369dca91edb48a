import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  adamw,
  createEngine,
  encodeSafetensors,
  gradientStep,
  Rng,
  treeDispose,
  treeEntries,
  valueAndGrad,
} from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  applyLora,
  attachLora,
  createGpt2,
  createLora,
  decodeLora,
  encodeLora,
  type Gpt2Config,
  type Gpt2Params,
  generateIds,
  gpt2Lm,
  gpt2Logits,
  gpt2Loss,
  type Lora,
  type LoraConfig,
  type LoraParams,
  type LoraTree,
  languageModelLoss,
  loadLora,
  loraLm,
  mergeLora,
  nextTokens,
  saveLora,
  scoreContinuations,
  trainsLora,
} from "../src/index.ts";

const config: Gpt2Config = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 2 };
const loraConfig: LoraConfig = { rank: 2, alpha: 3, targets: ["c_attn", "mlp.c_proj"], fanInFanOut: true };
const layers = [0, 1].flatMap((i) => [`h.${i}.attn.c_attn`, `h.${i}.mlp.c_proj`]);
const gpt = () => createGpt2(config, new Rng(0)).params;
const ids = () => new Rng(1).integers([2, 6], 0, 11) as tf.Tensor2D;

/** An adapter that has learned something. */
const drawnLora = (params: Gpt2Params): Lora => drawn(createLora(params, loraConfig, new Rng(2)));

function drawn(lora: Lora): Lora {
  const rng = new Rng(3);
  for (const factors of Object.values(lora.params)) {
    factors.lora_B = { weight: rng.normal(factors.lora_B.weight.shape, 0, 0.5) };
  }
  return lora;
}

const tolerance = { atol: 1e-5, rtol: 1e-4 };

describeOnEngines("LoRA", (engine) => {
  const logits = () => engine().compile((params: Gpt2Params, ids: tf.Tensor2D) => gpt2Logits({ config, params }, ids));
  const adapted = () =>
    engine().compile((params: Gpt2Params, lora: Lora, ids: tf.Tensor2D) =>
      gpt2Logits({ config, params: applyLora(params, lora) }, ids),
    );

  it("leaves the outputs as they are to the last bit while B is zero", async () => {
    const params = gpt();
    const lora = createLora(params, loraConfig, new Rng(2));
    const got = await adapted()(params, lora, ids());
    expect(await got.data()).toEqual(await (await logits()(params, ids())).data());
  });

  it("computes the same adapted and merged", async () => {
    const params = gpt();
    const lora = drawnLora(params);
    const got = await adapted()(params, lora, ids());
    await expectClose(await logits()(mergeLora(params, lora), ids()), got, tolerance);
    const plain = await (await logits()(params, ids())).data();
    expect(Math.abs(plain[0]! - (await got.data())[0]!)).toBeGreaterThan(1e-3);
  });

  it("computes the same attached, with the same gradients, whatever matrices are adapted", async () => {
    const config: Gpt2Config = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1, tieWordEmbeddings: false };
    const base = createGpt2(config, new Rng(0)).params;
    const targets = ["wte", "wpe", "lm_head", "c_attn", "c_proj", "c_fc"];
    const lora = drawn(createLora(base, { ...loraConfig, targets }, new Rng(2)));
    expect(lora.params.wte!.lora_B.weight.shape, "tables are [out, in] in GPT-2 too").toEqual([11, 2]);
    const gradients = (join: typeof applyLora) =>
      engine().compile((base: Gpt2Params, lora: Lora, ids: tf.Tensor2D) => {
        const lossOf = (params: LoraParams) =>
          gpt2Loss({ config, params: join(base, { ...lora, params }) }, ids, nextTokens(ids));
        return valueAndGrad(lossOf, lora.params);
      });
    const want = await gradients(applyLora)(base, lora, ids());
    const got = await gradients(attachLora)(base, lora, ids());
    await expectClose(got.loss, want.loss, tolerance);
    const byPath = new Map(treeEntries(want.grads));
    for (const [path, grad] of treeEntries(got.grads)) await expectClose(grad, byPath.get(path)!, tolerance, path);
  });

  it("drops inputs of the attached adapter in training, and nothing else", async () => {
    const base = gpt();
    const lora = drawnLora(base);
    const logits = engine().compile((base: Gpt2Params, lora: Lora, ids: tf.Tensor2D, rng?: Rng) =>
      gpt2Logits({ config, params: attachLora(base, lora, rng) }, ids),
    );
    const dropping = { ...lora, config: { ...lora.config, dropout: 0.5 } };
    const plain = await (await logits(base, lora, ids())).data();
    expect(await (await logits(base, dropping, ids())).data(), "without an Rng").toEqual(plain);
    expect(await (await logits(base, lora, ids(), new Rng(4))).data(), "at rate 0").toEqual(plain);
    expect(await (await logits(base, dropping, ids(), new Rng(4))).data()).not.toEqual(plain);
    const untrained = { ...createLora(base, loraConfig, new Rng(2)), config: dropping.config };
    const bare = await (await logits(base, { ...lora, params: {} }, ids())).data();
    expect(await (await logits(base, untrained, ids(), new Rng(4))).data(), "with B zero").toEqual(bare);
  });

  it("trains the adapter and moves nothing else", async () => {
    const base = gpt();
    const lora = createLora(base, loraConfig, new Rng(2));
    const lm = loraLm(gpt2Lm(config), { ...loraConfig, dropout: 0.1 });
    const optimizer = adamw({ learningRate: 0.1, weightDecay: 0.1, trainable: trainsLora });
    const { init, step } = gradientStep(
      optimizer,
      (params: LoraTree<Gpt2Params>, ids: tf.Tensor2D, rng) =>
        languageModelLoss(lm, params, { ids, targets: nextTokens(ids) }, { rng }),
      { trainable: trainsLora },
    );
    const run = engine().compile(step);
    let state = init({ base, lora: lora.params });
    const losses: number[] = [];
    const before = new Map(
      await Promise.all(treeEntries(state.params).map(async ([p, t]) => [p, (await t.data()).slice()] as const)),
    );
    for (let i = 0; i < 6; i++) {
      const { state: next, metrics } = await run(state, ids(), new Rng(0));
      losses.push((await metrics.loss.data())[0]!);
      state = next;
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.05);
    for (const [path, tensor] of treeEntries(state.params)) {
      const moved = !(await tensor.data()).every((x, i) => x === before.get(path)![i]);
      expect(moved, path).toBe(path.startsWith("lora."));
    }
  });
});

describe("an adapter", () => {
  it("has factors for the named matrices alone", () => {
    const { params } = createLora(gpt(), loraConfig, new Rng(0));
    expect(Object.keys(params)).toEqual(layers);
    expect(params["h.0.attn.c_attn"]!.lora_A.weight.shape).toEqual([2, 8]);
    expect(params["h.0.attn.c_attn"]!.lora_B.weight.shape).toEqual([24, 2]);
    expect(params["h.1.mlp.c_proj"]!.lora_A.weight.shape).toEqual([2, 32]);
  });

  it("adds alpha / rank times B A, in either layout", () => {
    const a = tf.tensor2d([[1, 2, 3]]); // [r, in]
    const b = tf.tensor2d([[1], [-1]]); // [out, r]
    const params = { fc: { lora_A: { weight: a }, lora_B: { weight: b } } };
    const config = { rank: 1, alpha: 2, targets: ["fc"] };
    const merged = mergeLora({ fc: { weight: tf.zeros([2, 3]), bias: tf.ones([2]) } }, { config, params });
    expect(merged.fc.weight.arraySync()).toEqual([
      [2, 4, 6],
      [-2, -4, -6],
    ]);
    const flipped = mergeLora(
      { fc: { weight: tf.zeros([3, 2]) } },
      { config: { ...config, fanInFanOut: true }, params },
    );
    expect(flipped.fc.weight.transpose().arraySync()).toEqual(merged.fc.weight.arraySync());
  });

  it("adds alpha / sqrt(rank) times B A if it is rank-stabilised", () => {
    const params = { fc: { lora_A: { weight: tf.ones([4, 3]) }, lora_B: { weight: tf.ones([2, 4]) } } };
    const config = { rank: 4, alpha: 3, targets: ["fc"], rankStabilised: true };
    const { fc } = mergeLora({ fc: { weight: tf.zeros([2, 3]) } }, { config, params: params as unknown as LoraParams });
    expect([...fc.weight.dataSync()]).toEqual(new Array(6).fill((3 / 2) * 4));
  });

  it("keeps its dropout and its kind of scale in PEFT's files", async () => {
    const lora = drawnLora(gpt());
    const config = { ...lora.config, dropout: 0.05, rankStabilised: true };
    const files = await encodeLora({ ...lora, config });
    const json = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
    expect(json).toMatchObject({ lora_dropout: 0.05, use_rslora: true });
    expect((await decodeLora(files)).config).toEqual(config);
  });

  it("merges into tensors that outlive the model's", () => {
    const params = gpt();
    const merged = mergeLora(params, drawnLora(params));
    treeDispose(params);
    for (const [path, tensor] of treeEntries(merged)) expect(tensor.dataSync().length, path).toBe(tensor.size);
  });

  it("goes through PEFT's files under the published names", async () => {
    const lora = drawnLora(gpt());
    const files = await encodeLora(lora, { prefix: "transformer.", baseModel: "gpt2" });
    const header = new TextDecoder().decode(files["adapter_model.safetensors"]);
    expect(header).toContain('"base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"');
    const json = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
    expect(json).toMatchObject({ peft_type: "LORA", r: 2, lora_alpha: 3, fan_in_fan_out: true });
    expect(json).toMatchObject({ target_modules: ["c_attn", "mlp.c_proj"], base_model_name_or_path: "gpt2" });
    const back = await decodeLora(files, { prefix: "transformer." });
    expect(back.config).toEqual(lora.config);
    const want = new Map(treeEntries(lora.params));
    expect(
      treeEntries(back.params)
        .map(([path]) => path)
        .sort(),
    ).toEqual([...want.keys()].sort());
    for (const [path, tensor] of treeEntries(back.params)) {
      expect(tensor.dataSync(), path).toEqual(want.get(path)!.dataSync());
    }
  });

  it("is written to a folder and read from it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lora-"));
    try {
      const lora = drawnLora(gpt());
      await saveLora(join(folder, "new"), lora);
      expect((await readdir(join(folder, "new"))).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
      const back = await loadLora(`${join(folder, "new")}/`);
      expect(back.config).toEqual(lora.config);
      const path = "h.1.mlp.c_proj";
      expect(back.params[path]!.lora_B.weight.dataSync()).toEqual(lora.params[path]!.lora_B.weight.dataSync());
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("generates and scores unmerged as it does merged", async () => {
    const engine = await createEngine("onnx:cpu");
    const base = gpt();
    const lora = drawnLora(base);
    const merged = mergeLora(base, lora);
    const [lm, tree] = [loraLm(gpt2Lm(config), loraConfig), { base, lora: lora.params }];
    const options = { maxNewTokens: 5 };
    const want = await generateIds(engine, gpt2Lm(config), merged, [[1, 2, 3]], options);
    expect(await generateIds(engine, lm, tree, [[1, 2, 3]], options)).toEqual(want);
    const text = { context: [1, 2, 3], continuation: [4, 5] };
    const [unmerged] = await scoreContinuations(engine, lm, tree, [text]);
    const [score] = await scoreContinuations(engine, gpt2Lm(config), merged, [text]);
    expect(unmerged!.logProb).toBeCloseTo(score!.logProb, 4);
    engine.dispose();
  });

  it("is rank-stabilised when its file says so, and takes its layers from the file", async () => {
    const files = await encodeLora(drawnLora(gpt()));
    const json = { ...JSON.parse(new TextDecoder().decode(files["adapter_config.json"])), use_rslora: true };
    json.target_modules = ".*c_attn|.*c_proj";
    const changed = { ...files, "adapter_config.json": new TextEncoder().encode(JSON.stringify(json)) };
    const { config } = await decodeLora(changed);
    expect(config).toMatchObject({ alpha: 3, rank: 2, rankStabilised: true });
    expect([...config.targets].sort()).toEqual([...layers].sort());
  });
});

describe("LoRA refuses", () => {
  it("targets and numbers that make no sense", () => {
    const create = (change: Partial<LoraConfig>) => createLora(gpt(), { ...loraConfig, ...change }, new Rng(0));
    expect(() => create({ targets: ["q_proj"] })).toThrow(
      "target 'q_proj' names no matrix; there are wte, wpe, c_attn",
    );
    expect(() => create({ targets: [] })).toThrow("targets are empty");
    expect(() => create({ rank: 0 })).toThrow("rank (0) must be a positive integer");
    expect(() => create({ rank: 9 })).toThrow("rank (9) exceeds the sides of h.0.attn.c_attn, 24 x 8");
    expect(() => create({ dropout: 1 })).toThrow("dropout (1) must be in [0, 1)");
    expect(() => create({ alpha: 0 })).toThrow("alpha (0) must be a positive number");
  });

  it("a model that the adapter was not made for, listing all that differs", () => {
    const lora = drawnLora(gpt());
    const other = createGpt2({ ...config, nLayer: 1, nEmbd: 6 }, new Rng(0)).params;
    expect(() => applyLora(other, lora)).toThrow(
      /does not fit the model: h\.0\.attn\.c_attn has factors \[2,8\] and \[24,2\]; expected \[2,6\] and \[18,2\].*h\.1\.attn\.c_attn is no matrix/,
    );
  });

  it("files of other adapters", async () => {
    const files = await encodeLora(drawnLora(gpt()));
    const json = JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
    const withConfig = (change: object) =>
      decodeLora({ ...files, "adapter_config.json": new TextEncoder().encode(JSON.stringify({ ...json, ...change })) });
    await expect(withConfig({ peft_type: "IA3" })).rejects.toThrow('peft_type is "IA3"; expected LORA');
    await expect(withConfig({ use_dora: true })).rejects.toThrow("use_dora is true");
    await expect(withConfig({ rank_pattern: { c_attn: 4 } })).rejects.toThrow("rank_pattern is");
    await expect(withConfig({ r: "x" })).rejects.toThrow('r is "x"; expected a number');
    await expect(decodeLora(files, { prefix: "transformer." })).rejects.toThrow("(prefix 'transformer.')");
    const before = tf.memory().numTensors;
    const [half] = await encodeSafetensors([
      ["base_model.model.h.lora_A.weight", { dtype: "F32", shape: [0], data: new Float32Array() }],
    ]);
    await expect(decodeLora({ ...files, "adapter_model.safetensors": half! })).rejects.toThrow(
      "only one of lora_A and lora_B",
    );
    expect(tf.memory().numTensors).toBe(before);
  });
});
