import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors, Rng } from "@genai/core";
import { createByteTokenizer } from "@genai/tokenizer";
import { createGpt2, savePretrained } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

let cli: SourceCli;
const at = (...path: string[]) => join(cli.scratch, ...path);
const readJson = (...path: string[]) => JSON.parse(readFileSync(at(...path), "utf8"));
const tuned = (...args: string[]) => cli.run(["finetune", ...args, "--sample-tokens", "8", "--warmup", "0", "--json"]);

beforeAll(async () => {
  cli = await buildSourceCli();
  await tf.setBackend("cpu");
  const config = { vocabSize: 257, blockSize: 24, nEmbd: 16, nHead: 2, nLayer: 2, activation: "gelu" as const };
  await savePretrained(at("base"), { architecture: "gpt2", ...createGpt2(config, new Rng(0)) });
  const tokenizer = createByteTokenizer({ specialTokens: ["<|end|>"] });
  writeFileSync(at("base", "tokenizer.json"), JSON.stringify(tokenizer.toJson()));
  writeFileSync(at("base", "tokenizer_config.json"), JSON.stringify({ eos_token: "<|end|>" }));
  writeFileSync(at("text.txt"), "the cat sat on the mat. ".repeat(60));
  const lines = (make: (i: number) => object) =>
    Array.from({ length: 30 }, (_, i) => JSON.stringify(make(i))).join("\n");
  writeFileSync(
    at("answers.jsonl"),
    lines((i) => ({ prompt: `say ${i}: `, completion: "yes" })),
  );
  writeFileSync(
    at("likes.jsonl"),
    lines((i) => ({ prompt: `say ${i}: `, chosen: "yes", rejected: "never" })),
  );
}, 60_000);
afterAll(() => cli?.dispose());

describe("genai finetune", () => {
  it("trains an adapter on text, says how well the model did before and after, and leaves what generate opens", async () => {
    const args = ["base", "--data", "text.txt", "--steps", "30", "--learning-rate", "0.02", "--eval-every", "10"];
    const { code, stdout, stderr } = await tuned(...args, "--out", "text");
    expect(stderr).toContain("parameters learn: LoRA of rank 8 on c_attn, c_proj, c_fc.");
    expect(code).toBe(0);
    const { results, kind } = JSON.parse(stdout);
    expect(kind).toBe("text");
    expect(results.valLoss).toBeLessThan(results.valLossBefore - 0.1);
    expect(results.valPerplexity).toBeCloseTo(Math.exp(results.valLoss), 4);
    expect(readdirSync(at("text")).sort()).toEqual(
      "adapter before.json checkpoints config.json metrics.jsonl report.html result.json samples.txt".split(" "),
    );
    expect(readJson("text", "adapter", "adapter_config.json")).toMatchObject({
      peft_type: "LORA",
      r: 8,
      lora_alpha: 16,
      base_model_name_or_path: at("base"),
    });
    const [checkpoint] = readdirSync(at("text", "checkpoints"));
    const file = await openSafetensors(readFileSync(at("text", "checkpoints", checkpoint!)));
    const names = [...file.tensors.keys()];
    expect(names.some((name) => name.includes("params.lora."))).toBe(true);
    expect(
      names.some((name) => name.includes("params.base.")),
      "the model is not in the checkpoints",
    ).toBe(false);
    expect(readFileSync(at("text", "report.html"), "utf8")).toContain("Sample, before");
    const generated = await cli.run(["generate", "text", "--prompt", "the cat", "--max-tokens", "4"]);
    expect(generated.stderr).not.toMatch(/error/i);
    expect(generated.code).toBe(0);
  }, 120_000);

  it("goes on where it was stopped, with the same result as without a break", async () => {
    const args = [
      "base",
      "--data",
      "answers.jsonl",
      "--batch-size",
      "4",
      "--checkpoint-every",
      "4",
      "--eval-every",
      "0",
    ];
    const whole = await tuned(...args, "--steps", "8", "--out", "whole");
    expect(JSON.parse(whole.stdout).kind).toBe("instructions");
    await tuned(...args, "--steps", "8", "--seconds", "0.000001", "--out", "parts");
    expect(readdirSync(at("parts", "checkpoints"))).not.toContain("checkpoint-00000008.safetensors");
    const resumed = await cli.run(["finetune", "--resume", "parts", "--json"]);
    expect(resumed.stderr).toContain("Going on from step");
    const [a, b] = [whole, resumed].map(({ stdout }) => JSON.parse(stdout).results);
    expect(b).toEqual(a);
    expect(a.valLoss).toBeLessThan(a.valLossBefore);
    const other = await cli.run(["finetune", "base", "--resume", "parts", "--rank", "3"]);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain("base, --rank cannot be given with --resume");
  }, 120_000);

  it("tunes on preferences, an adapter on top of another", async () => {
    const first = await tuned("base", "--data", "answers.jsonl", "--steps", "4", "--out", "first");
    expect(first.code).toBe(0);
    const args = ["--data", "likes.jsonl", "--steps", "12", "--learning-rate", "0.02", "--eval-every", "0"];
    const { code, stdout } = await tuned("first", ...args, "--out", "likes");
    expect(code).toBe(0);
    const { results, kind } = JSON.parse(stdout);
    expect(kind).toBe("preferences");
    expect(results.valLossBefore).toBeCloseTo(Math.LN2, 5);
    expect(results.valAccuracyBefore).toBe(0.5);
    expect(results.valLoss).toBeLessThan(0.69);
    expect(results.valAccuracy).toBe(1);
    expect((await cli.run(["generate", "likes", "--prompt", "say", "--max-tokens", "2"])).code).toBe(0);
  }, 120_000);

  it("moves the parameters themselves, but for the blocks that are frozen", async () => {
    const args = ["--method", "full", "--freeze", "1", "--steps", "3", "--learning-rate", "0.01"];
    expect((await tuned("base", "--data", "text.txt", ...args, "--out", "full")).code).toBe(0);
    const [before, after] = await Promise.all(
      [at("base"), at("full", "model")].map((dir) => openSafetensors(readFileSync(join(dir, "model.safetensors")))),
    );
    const moved = async (name: string) => {
      const [a, b] = await Promise.all([before!.tensor(name), after!.tensor(name)]);
      return (await a.data()).some((x, i) => x !== b.dataSync()[i]);
    };
    const prefix = [...before!.tensors.keys()].some((name) => name.startsWith("transformer.")) ? "transformer." : "";
    expect(await moved(`${prefix}h.1.mlp.c_fc.weight`)).toBe(true);
    expect(await moved(`${prefix}h.0.mlp.c_fc.weight`)).toBe(false);
    expect(await moved(`${prefix}wte.weight`)).toBe(false);
    expect((await cli.run(["generate", "full", "--prompt", "the", "--max-tokens", "2"])).code).toBe(0);
  }, 120_000);

  it("says what is wrong with what it is given", async () => {
    writeFileSync(at("odd.jsonl"), '{"foo": 1}\n');
    writeFileSync(at("long.jsonl"), `${JSON.stringify({ prompt: "x".repeat(90), completion: "y" })}\n`.repeat(3));
    const cases: [string[], string][] = [
      [[], "No model is given"],
      [["base"], "No --data is given"],
      [["nowhere", "--data", "text.txt"], "nowhere does not exist"],
      [["base", "--data", "odd.jsonl"], "the first line has the fields foo; expected prompt and completion"],
      [["base", "--data", "long.jsonl"], "0 of 3 records fit a context of 24 tokens"],
      [["base", "--data", "text.txt", "--targets", "q_proj"], "target 'q_proj' names no matrix"],
      [["base", "--data", "text.txt", "--method", "full", "--freeze", "3"], "the model has 2 blocks"],
      [["base", "--data", "text.txt", "--block-size", "99"], "--block-size 99 exceeds the model's context of 24"],
      [["base", "--data", "text.txt", "--beta", "1"], "--beta means nothing to --kind text"],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await cli.run(["finetune", ...args, "--out", "never"]);
      expect(stderr, args.join(" ")).toContain(message);
      expect(code, args.join(" ")).toBe(2);
    }
  }, 120_000);
});
