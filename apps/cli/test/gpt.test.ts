import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createEngine, treeDispose } from "@genai/core";
import { loadTokenizer } from "@genai/tokenizer";
import { generateIds, loadPretrained, pretrainedLm } from "@genai/transformer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

let cli: SourceCli;
beforeAll(async () => {
  cli = await buildSourceCli();
  const verse = "the cat sat on the mat, the dog ate the hat; the bird sang to the cat.\n";
  writeFileSync(join(cli.scratch, "verse.txt"), verse.repeat(20));
  const names = ["ann", "bob", "cleo", "dora", "emil", "fritz", "gus", "hanna", "ida", "jo"];
  writeFileSync(join(cli.scratch, "names.txt"), `${[...names, ...names.map((n) => `${n}a`)].join("\n")}\n`);
});
afterAll(() => cli?.dispose());

const tiny =
  "--n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --batch-size 4 --eval-batches 2 --sample-tokens 20 --device tfjs:wasm --json".split(
    " ",
  );
const train = ["train", "gpt", ...tiny];

const path = (...parts: string[]) => join(cli.scratch, ...parts);
const text = (...parts: string[]) => readFileSync(path(...parts), "utf8");
const linesOf = (run: string, file: string) =>
  text(run, file)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("genai train gpt", () => {
  it("trains on a text file, samples as it goes and leaves a Hugging Face folder", async () => {
    const args = [...train, "--data", "verse.txt", "--steps", "30", "--eval-every", "10", "--learning-rate", "0.01"];
    const { code, stdout, stderr } = await cli.run([...args, "--out", "verse"]);
    expect(stderr).toMatch(/step 10 +validation loss \d\.\d+ +training loss \d\.\d+\n {2}\S/);
    expect(stderr).toMatch(/step 30\/30 +[\d.]+k? tokens\/s +loss \d\.\d+ +valLoss/);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    const { valLoss, valPerplexity, valBitsPerCharacter, valTokens } = result.results;
    expect(result).toMatchObject({ family: "gpt", kind: "gpt2", steps: 30, work: { unit: "tokens" } });
    expect([valPerplexity, valBitsPerCharacter]).toEqual([Math.exp(valLoss), valLoss / Math.LN2]);
    expect(valTokens).toBe(141);

    const lines = linesOf("verse", "metrics.jsonl");
    expect(lines.filter((line) => "loss" in line).map(({ step }) => step)).toEqual(
      Array.from({ length: 30 }, (_, i) => i + 1),
    );
    const estimates = lines.filter((line) => "valLoss" in line);
    expect(estimates.map(({ step }) => step)).toEqual([10, 20, 30]);
    expect(estimates[2].valLoss).toBeLessThan(estimates[0].valLoss);
    expect(linesOf("verse", "samples.jsonl").map(({ step }) => step)).toEqual([10, 20, 30]);
    expect(readdirSync(path("verse", "model")).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const html = text("verse", "report.html");
    for (const part of ["Validation loss", "Bits per character", "Step 10", "<pre", "verse.txt"]) {
      expect(html).toContain(part);
    }
    // Options that are empty are left out.
    expect(html).toContain("evalBatches 2");
    expect(html).not.toContain("samplePrompt");
  });

  it("measures the weights at which its time is over, and keeps them if they are the best", async () => {
    const args = [...train, "--data", "verse.txt", "--steps", "30", "--eval-every", "20", "--out", "timed"];
    const first = await cli.run([...args, "--seconds", "0.000001"]);
    const { steps, results } = JSON.parse(first.stdout);
    expect(steps).toBeLessThan(20);
    expect(results.bestStep).toBe(steps);
    const resumed = await cli.run(["train", "gpt", "--resume", "timed", "--seconds", "0.000001", "--json"]);
    const more = JSON.parse(resumed.stdout);
    expect(more.steps).toBeGreaterThan(steps);
    const estimates = linesOf("timed", "metrics.jsonl").filter((line) => "valLoss" in line);
    expect(estimates.map(({ step }) => step)).toEqual([steps, more.steps]);
    expect(more.results.bestStep).toBe(estimates[1].valLoss < estimates[0].valLoss ? more.steps : steps);
  });

  it("leaves a model that loads in TypeScript in five lines", async () => {
    const engine = await createEngine("tfjs:wasm");
    const model = await loadPretrained(path("verse", "model"));
    const tokenizer = await loadTokenizer(path("verse", "model"));
    const prompts = [tokenizer.encode("the ").ids];
    const [ids] = await generateIds(engine, pretrainedLm(model), model.params, prompts, { maxNewTokens: 5 });
    expect(tokenizer.decode(ids!)).toMatch(/^[a-z ,;.\n]{5}$/);
    treeDispose(model.params);
    engine.dispose();
  });

  it("stops at Ctrl-C with a model, and goes on as a run without a break", { timeout: 120_000 }, async () => {
    const args = [...train, "--data", "verse.txt", "--steps", "24", "--accumulate", "2", "--eval-every", "10"];
    const settings = [...args, "--dropout", "0.1", "--documents", "none", "--kind", "llama"];
    expect((await cli.run([...settings, "--out", "whole"])).code).toBe(0);
    const stopped = await cli.run([...settings, "--out", "parts"], {
      interrupt: {
        signal: "SIGINT",
        when: () => existsSync(path("parts", "metrics.jsonl")) && text("parts", "metrics.jsonl").includes('"step":3,'),
      },
    });
    expect(stopped.stderr).toMatch(/Stopped at step \d+ of 24; the checkpoint is saved; go on with: genai train gpt/);
    expect(stopped.code).toBe(130);
    const written = await cli.run(["generate", "parts", "--max-tokens", "3", "--json", "--device", "tfjs:wasm"]);
    expect(JSON.parse(written.stdout)).toMatchObject({ architecture: "llama", texts: [{ tokens: 3 }] });
    const resumed = await cli.run(["train", "gpt", "--resume", "parts", "--json", "--device", "tfjs:wasm"]);
    expect(resumed.code).toBe(0);
    const [whole, parts] = ["whole", "parts"].map((run) => linesOf(run, "metrics.jsonl").map(withoutSeconds));
    expect(parts).toEqual(whole);
    const weights = (run: string) => readFileSync(path(run, "model", "model.safetensors"));
    expect(weights("parts").equals(weights("whole"))).toBe(true);
  });

  it("takes lines as documents, which begin and end", async () => {
    const args = [...train, "--preset", "makemore", "--data", "names.txt", "--documents", "lines", "--steps", "6"];
    const { code, stdout, stderr } = await cli.run([...args, "--eval-every", "3", "--out", "names"]);
    expect(stderr).toContain("names.txt; 18 documents to train on, 2 to validate with");
    expect(code).toBe(0);
    expect(JSON.parse(text("names", "config.json"))).toMatchObject({
      settings: { preset: "makemore", options: { beta2: 0.99, nEmbd: 16 } },
      model: { architecture: "gpt2", config: { blockSize: 7 } },
    });
    const [, , sample] = [stdout, stderr, linesOf("names", "samples.jsonl")[0]];
    expect(sample.texts).toHaveLength(10);
    const tokenizer = await loadTokenizer(path("names", "model"));
    expect(tokenizer.encode("ann").tokens).toEqual(["<|endoftext|>", "a", "n", "n"]);
    expect(JSON.parse(text("names", "model", "generation_config.json"))).toEqual({ bos_token_id: 0, eos_token_id: 0 });
  });

  it("fine-tunes a run on other text with its own vocabulary", async () => {
    writeFileSync(path("cats.txt"), "the cat ate the bird. ".repeat(30));
    const args = ["--data", "cats.txt", "--steps", "4", "--learning-rate", "0.001", "--sample-tokens", "0"];
    const { code, stdout } = await cli.run([...train, ...args, "--from", "verse", "--out", "tuned"]);
    expect(code).toBe(0);
    expect(text("tuned", "model", "tokenizer.json")).toBe(text("verse", "model", "tokenizer.json"));
    expect(JSON.parse(stdout).results.valLoss).toBeLessThan(3);
  });

  it.each([
    ["an empty file", { "none.txt": "" }, ["--data", "none.txt"], /hold no text \(.*none\.txt\)/, 1],
    [
      "a file that is shorter than a block",
      { "short.txt": "hello" },
      ["--data", "short.txt"],
      /short\.txt has 4 tok/,
      2,
    ],
    ["an unknown preset", {}, ["--preset", "huge"], /'huge' is invalid. Allowed choices are nano-cpu, baby/, 2],
    ["heads that do not fit", {}, ["--data", "verse.txt", "--n-head", "3"], /--n-embd 16 must be a multiple of/, 2],
    ["a preset of another kind", {}, ["--preset", "baby", "--kind", "llama"], /--preset baby is of kind gpt2/, 2],
    [
      "a character that is unknown",
      { "é.txt": "é".repeat(99) },
      ["--data", "é.txt", "--from", "verse"],
      /"é" is not/,
      2,
    ],
  ] as const)("says what is wrong with %s", async (_, files, args, message, exit) => {
    for (const [name, contents] of Object.entries(files)) writeFileSync(path(name), contents);
    const { code, stderr } = await cli.run([...train, ...args, "--out", "bad"]);
    expect(stderr).toMatch(message);
    expect([code, existsSync(path("bad"))]).toEqual([exit, false]);
  });
});

describe("genai generate", () => {
  const generate = (...args: string[]) => cli.run(["generate", ...args, "--device", "tfjs:wasm"]);

  it("writes the same text from the same seed, streamed or as JSON", async () => {
    const args = ["verse", "--prompt", "the ", "--max-tokens", "40", "--seed", "7"];
    const { code, stdout, stderr } = await generate(...args);
    expect([code, stderr]).toEqual([0, ""]);
    const json = JSON.parse((await generate(...args, "--json", "--logprobs")).stdout);
    const [only] = json.texts;
    expect(only).toMatchObject({ prompt: "the ", tokens: 40, finish: "length" });
    expect(stdout).toBe(only.text.endsWith("\n") ? only.text : `${only.text}\n`);
    expect(only.logProb).toBeCloseTo(
      only.logProbs.reduce((a: number, b: number) => a + b, 0),
      6,
    );
    expect(json.tokensPerSecond).toBeGreaterThan(0);
  });

  it("continues many prompts at once, several times, up to a stop string", async () => {
    writeFileSync(path("prompts.txt"), "the cat\nthe dog\n");
    const args = ["verse", "--file", "prompts.txt", "--count", "2", "--stop", "\\n", "--max-tokens", "30", "--echo"];
    const { code, stdout } = await generate(...args);
    expect(code).toBe(0);
    const texts = stdout.split("---\n");
    expect(texts.map((one) => one.slice(0, 7))).toEqual(["the cat", "the cat", "the dog", "the dog"]);
    expect(texts[0]).not.toBe(texts[1]);
    for (const one of texts) expect(one.indexOf("\n")).toBe(one.length - 1);
  });

  it("reads a prompt from the standard input, and finds the likeliest texts with beams", async () => {
    const beams = ["--prompt", "-", "--beams", "3", "--count", "2", "--max-tokens", "4", "--json"];
    const { stdout } = await cli.run(["generate", "verse", ...beams, "--device", "tfjs:wasm"], { input: "the c\n" });
    const { texts } = JSON.parse(stdout);
    expect(texts).toHaveLength(2);
    expect(texts[0].prompt).toBe("the c");
    expect(texts[0].logProb).toBeGreaterThanOrEqual(texts[1].logProb);
  });

  it("stops cleanly at Ctrl-C", async () => {
    const finished = await cli.run(["generate", "verse", "--max-tokens", "1000000", "--device", "tfjs:wasm"], {
      interrupt: { signal: "SIGINT", when: (shown) => shown.length > 20 },
    });
    expect(finished.stderr).toMatch(/^Stopped after \d+ tokens\.\n$/);
    expect(finished.code).toBe(130);
    expect(finished.stdout.length).toBeGreaterThan(20);
  });

  it.each([
    [
      "a prompt that is too long",
      ["--prompt", "the ".repeat(5)],
      /--prompt has 20 tokens, 4 more than the context of 16/,
    ],
    ["an unknown character", ["--prompt", "the É"], /--prompt: the character "É" is not in the vocabulary/],
    ["drawing with beams", ["--beams", "2", "--top-k", "3"], /--top-k cannot be given with --beams/],
    ["a share above one", ["--top-p", "2"], /Expected a number above 0 and up to 1/],
  ])("refuses %s", async (_, args, message) => {
    const { code, stderr } = await generate("verse", ...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});

// Trains on the real names, which are not everywhere.
describe.skipIf(!process.env.GENAI_DATA_DIR)("genai reproduce makemore", () => {
  it("prints obtained beside published, and ends with exit code 1 when the number is missed", async () => {
    const args = ["reproduce", "makemore", "--seconds", "1", "--out", "missed", "--json"];
    const { code, stdout } = await cli.run(args, { env: { GENAI_DATA_DIR: process.env.GENAI_DATA_DIR! } });
    const { reached, obtained, published, runs } = JSON.parse(stdout);
    expect(reached).toBe(false);
    expect(obtained[0]).toMatchObject({ label: "test loss of 1,000 names", atMost: 1.92 });
    expect(obtained[0].value).toBeGreaterThan(1.92);
    expect(runs[0].params).toBe(204_544);
    expect(published[0].value).toContain("1.92");
    expect(code).toBe(1);
  });
});

const withoutSeconds = ({ seconds: _, ...line }: { seconds: number }) => line;
