import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadModel, openSafetensors } from "@genai/core";
import { decode } from "fast-png";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

let cli: SourceCli;
beforeAll(async () => {
  cli = await buildSourceCli();
});
afterAll(() => cli?.dispose());

const tiny =
  "--data drawn-digits --batch-size 16 --hidden-channels 4,8 --dense-dim 16 --latent-dim 4 --learning-rate 0.003".split(
    " ",
  );
const train = ["train", "vae", ...tiny];

const read = (...path: string[]) => readFileSync(join(cli.scratch, ...path));
const readJson = (...path: string[]) => JSON.parse(read(...path).toString());
const metricsOf = (run: string) =>
  read(run, "metrics.jsonl")
    .toString()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, number>);

describe("genai train", () => {
  it("leaves a run folder with everything in it", async () => {
    const { code, stdout, stderr } = await cli.run([
      ...train,
      "--steps",
      "12",
      "--seed",
      "3",
      "--out",
      "run",
      "--json",
    ]);
    expect(stderr).toContain("step 12/12");
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ family: "vae", dir: "run", steps: 12 });
    expect(result.results.testElbo).toBeCloseTo(-result.results.testRecon - result.results.testKl, 6);
    expect(readJson("run", "result.json")).toEqual(result);

    expect(readdirSync(join(cli.scratch, "run")).sort()).toEqual([
      "checkpoints",
      "config.json",
      "interpolation.png",
      "metrics.jsonl",
      "model.safetensors",
      "reconstructions.png",
      "report.html",
      "result.json",
      "samples.png",
      "traversal.png",
    ]);
    expect(readJson("run", "config.json")).toMatchObject({
      format: "genai-run-1",
      settings: { data: "drawn-digits", steps: 12, seed: 3, options: { latentDim: 4, hiddenChannels: [4, 8] } },
      model: { imageSize: [28, 28], latentDim: 4 },
    });
    const metrics = metricsOf("run");
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    for (const { loss, recon, kl } of metrics) expect([loss, recon, kl].every(Number.isFinite)).toBe(true);
    // 12 columns and 6 rows of 28 pixels, three times as large, with gaps of 2.
    for (const name of ["samples", "reconstructions", "interpolation"]) {
      const { width, height, channels } = decode(read("run", `${name}.png`));
      expect([name, width, height, channels]).toEqual([name, 12 * 86 + 2, 6 * 86 + 2, 1]);
    }
    // A row for each of the four dimensions.
    expect(decode(read("run", "traversal.png")).height).toBe(4 * 86 + 2);
  });

  it("writes a report that needs nothing else", () => {
    const html = read("run", "report.html").toString();
    expect(html.match(/<img [^>]*src="data:image\/png;base64,/g)).toHaveLength(4);
    expect(html).not.toMatch(/(src|href)="(?!data:)/);
    expect(html).not.toMatch(/@import|url\(/);
    expect(html).toContain("uPlot");
    expect(html).toMatch(/-\d+\.\d\d nats/);
  });

  it("writes a model that opens elsewhere, under PyTorch's names", async () => {
    const file = await openSafetensors(read("run", "model.safetensors"));
    expect(file.tensors.get("encoder.conv.0.weight")?.shape).toEqual([4, 1, 3, 3]);
    expect(file.tensors.get("decoder.conv.0.weight")?.shape).toEqual([8, 4, 4, 4]);
  });

  it("samples the same images from the same seed", async () => {
    for (const [seed, out] of [
      ["1", "a.png"],
      ["1", "b.png"],
      ["2", "c.png"],
    ] as const) {
      const { code, stdout } = await cli.run([
        "sample",
        "run",
        "--count",
        "10",
        "--seed",
        seed,
        "--out",
        out,
        "--json",
      ]);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ file: out, count: 10 });
    }
    expect(read("a.png").equals(read("b.png"))).toBe(true);
    expect(read("a.png").equals(read("c.png"))).toBe(false);
    // Ten images in rows of eight.
    const { width, height } = decode(read("a.png"));
    expect([width, height]).toEqual([8 * 86 + 2, 2 * 86 + 2]);
  });

  it("exports the decoder as an ONNX file", async () => {
    const { code, stdout } = await cli.run(["export", "run", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ file: join("run", "model.onnx"), inputs: ["z"], outputs: ["image"] });
    const { InferenceSession, Tensor } = await import("onnxruntime-node");
    const session = await InferenceSession.create(join(cli.scratch, "run", "model.onnx"));
    const { image } = await session.run({ z: new Tensor("float32", new Float32Array(4), [1, 4]) });
    expect(image!.dims).toEqual([1, 28, 28, 1]);
    for (const p of image!.data as Float32Array) expect(p > 0 && p < 1).toBe(true);
    await session.release();
  });

  it("does not write over a run", async () => {
    const { code, stderr } = await cli.run([...train, "--steps", "1", "--out", "run"]);
    expect(stderr).toMatch(/run already holds a run; continue it with --resume run or choose another --out\.\n$/);
    expect(code).toBe(2);
  });

  it("stops at Ctrl-C with a checkpoint, and goes on to the same end as a run without a break", async () => {
    const steps = ["--steps", "3000", "--seed", "5"];
    const underway = () =>
      existsSync(join(cli.scratch, "broken", "metrics.jsonl")) && metricsText("broken").includes('"step":3,');
    const stopped = await cli.run([...train, ...steps, "--out", "broken", "--json"], {
      interrupt: { signal: "SIGINT", when: underway },
    });
    expect(stopped.stderr).toMatch(
      /Stopped at step \d+ of 3000; the checkpoint is saved; go on with: genai train vae --resume broken\.\n$/,
    );
    expect([stopped.code, stopped.stdout]).toEqual([130, ""]);
    const at = Number(stopped.stderr.match(/Stopped at step (\d+)/)![1]);
    expect(metricsOf("broken").at(-1)!.step).toBe(at);

    // What a crash leaves behind: lines after the checkpoint, the last one cut short.
    const extra = `{"step":${at + 1},"seconds":9,"loss":1}\n{"step":${at + 2},"seco`;
    writeFileSync(join(cli.scratch, "broken", "metrics.jsonl"), metricsText("broken") + extra);

    const end = String(at + 5);
    const resumed = await cli.run(["train", "vae", "--resume", "broken", "--steps", end, "--json"]);
    expect(resumed.stderr).toContain(`Going on from step ${at}.`);
    expect(resumed.code).toBe(0);
    expect(JSON.parse(resumed.stdout).steps).toBe(at + 5);
    const lines = metricsOf("broken");
    expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: at + 5 }, (_, i) => i + 1));
    expect(lines.every(({ loss }) => loss! > 2)).toBe(true);
  });

  it("gives bit-identical parameters in one go and with a break", async () => {
    const settings = [...train, "--seed", "5", "--checkpoint-every", "50"];
    expect((await cli.run([...settings, "--steps", "200", "--out", "whole"])).code).toBe(0);
    // Killed after the checkpoint of step 50 at the earliest: nothing is saved on the way out.
    const checkpoints = join(cli.scratch, "parts", "checkpoints");
    const part = await cli.run([...settings, "--steps", "200", "--out", "parts"], {
      interrupt: {
        signal: "SIGKILL",
        when: () => existsSync(checkpoints) && readdirSync(checkpoints).some((name) => !name.startsWith(".")),
      },
    });
    expect(part.signal).toBe("SIGKILL");
    expect((await cli.run(["train", "vae", "--resume", "parts"])).code).toBe(0);
    const [a, b] = await Promise.all(
      ["whole", "parts"].map((run) => loadModel(join(cli.scratch, run, "model.safetensors"))),
    );
    expect(await valuesOf(b!.params)).toEqual(await valuesOf(a!.params));
  });

  it("refuses settings together with --resume", async () => {
    const { code, stderr } = await cli.run(["train", "vae", "--resume", "run", "--latent-dim", "8"]);
    expect(stderr).toMatch(/--latent-dim cannot be given with --resume/);
    expect(code).toBe(2);
  });

  it("stops when the seconds are over, with everything in the folder", async () => {
    const { code, stdout } = await cli.run([
      ...train,
      "--steps",
      "100000",
      "--seconds",
      "0.5",
      "--out",
      "short",
      "--json",
    ]);
    expect(code).toBe(0);
    const { steps } = JSON.parse(stdout);
    expect(steps).toBeGreaterThan(0);
    expect(steps).toBeLessThan(100_000);
    expect(existsSync(join(cli.scratch, "short", "report.html"))).toBe(true);
  });
});

describe("genai quickstart", () => {
  it("says in one sentence that MNIST cannot be had, and trains on drawn digits", async () => {
    const { code, stdout, stderr } = await cli.run(["quickstart", "--steps", "2"]);
    expect(stderr.split("\n")[0]).toMatch(
      /^mnist is neither in GENAI_DATA_DIR nor in the cache and cannot be downloaded, so .* drawn by strokes\.$/,
    );
    expect(stdout).toMatch(/Test ELBO +-\d+\.\d\d nats/);
    expect(stdout).toMatch(/Report +runs\/quickstart-[\d-]+\/report\.html/);
    expect(code).toBe(0);
  });
});

// Trains on the real MNIST, which is not everywhere.
describe.skipIf(!process.env.GENAI_DATA_DIR)("genai reproduce", () => {
  it("prints obtained beside published, and ends with exit code 1 when the number is missed", async () => {
    const env = { GENAI_DATA_DIR: process.env.GENAI_DATA_DIR! };
    const args = ["reproduce", "vae-mnist", "--seconds", "1", "--out", "missed", "--json"];
    const { code, stdout } = await cli.run(args, { env });
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ recipe: "vae-mnist", reached: false });
    const [elbo] = report.obtained;
    expect(elbo).toMatchObject({ label: "test -ELBO", unit: "nats", atMost: 100 });
    expect(elbo.value).toBeGreaterThan(100);
    expect(elbo.value).toBe(-report.runs[0].results.testElbo);
    for (const { what, value, source } of report.published) expect([what, value, source].every(Boolean)).toBe(true);
    expect(code).toBe(1);
  });
});

const metricsText = (run: string) => read(run, "metrics.jsonl").toString();

async function valuesOf(params: unknown): Promise<Record<string, Float32Array>> {
  const { treeEntries } = await import("@genai/core");
  const entries = await Promise.all(treeEntries(params).map(async ([path, t]) => [path, await t.data()] as const));
  return Object.fromEntries(entries) as Record<string, Float32Array>;
}
