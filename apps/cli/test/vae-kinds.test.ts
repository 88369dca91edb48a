import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Rng } from "@genai/core";
import { decode, encode } from "fast-png";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

let cli: SourceCli;
beforeAll(async () => {
  cli = await buildSourceCli();
});
afterAll(() => cli?.dispose());

const read = (...path: string[]) => readFileSync(join(cli.scratch, ...path));
const rows = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(","));

/** Runs a command and gives what it prints with --json. */
// biome-ignore lint/suspicious/noExplicitAny: every command prints a record of its own
async function json(args: string): Promise<Record<string, any>> {
  const { code, stdout, stderr } = await cli.run([...args.split(" "), "--json"]);
  expect({ args, code, stderr: code === 0 ? "" : stderr }).toEqual({ args, code: 0, stderr: "" });
  return JSON.parse(stdout);
}

async function refused(args: string): Promise<string> {
  const { code, stdout, stderr } = await cli.run(args.split(" "));
  expect([args, code, stdout]).toEqual([args, 2, ""]);
  return stderr;
}

const digits = "--data drawn-digits --batch-size 32 --steps 6";

describe("genai train vae --kind mlp", () => {
  it("draws the latent plane and a map of it by class when there are two dimensions", async () => {
    const run = await json(`train vae --kind mlp ${digits} --hidden-dims 32 --out mlp`);
    expect(run).toMatchObject({ family: "vae", kind: "mlp" });
    expect(readdirSync(join(cli.scratch, "mlp"))).toContain("manifold.png");
    const report = read("mlp", "report.html").toString();
    expect(report).toContain("Latent map");
    const [, charts] = report.match(/const charts = (.*);/)!;
    const map = JSON.parse(charts!).find(({ kind }: { kind: string }) => kind === "points");
    expect(map.names).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    const placed = map.columns.slice(1).flatMap((column: (number | null)[]) => column.filter((y) => y !== null));
    expect([placed.length, map.columns[0].length]).toEqual([2000, 2000]);
    expect(map.columns[0]).toEqual([...map.columns[0]].sort((a, b) => a - b));
  });

  it("trains the importance-weighted bound and a learned prior, and estimates -log p(x)", async () => {
    const options = "--hidden-dims 16 --latent-dim 4 --prior vamp --importance-samples 3 --nll-samples 20";
    const { results } = await json(`train vae --kind mlp ${digits} ${options} --out iwae`);
    // The bound of 20 draws is tighter than that of one.
    expect(results.testNll).toBeLessThan(results.testNegativeElbo);
    expect(results.testNll).toBeGreaterThan(50);
    expect(await json("sample iwae --count 3 --out drawn.png")).toMatchObject({ count: 3 });
    expect(decode(read("drawn.png")).height).toBe(28 * 3 + 4);
  });

  it("begins with the parameters of another run, if they are of the same model", async () => {
    const tuned = await json(
      `train vae --kind mlp ${digits} --hidden-dims 32 --from mlp --learning-rate 1e-9 --out tuned`,
    );
    const before = JSON.parse(read("mlp", "result.json").toString());
    expect(tuned.results.testNegativeElbo).toBeCloseTo(before.results.testNegativeElbo, 0);
    expect(await refused(`train vae --kind mlp ${digits} --hidden-dims 16 --from mlp`)).toMatch(
      /--from .*mlp holds another model: encoder\.hidden\.0\.weight \[16,784\] is in one of the two only/,
    );
  });

  it("refuses options that mean nothing to the kind, and says which kinds take them", async () => {
    expect(await refused("train vae --kind mlp --codes 8")).toMatch(
      /--codes means nothing to --kind mlp; .* are vq\.\n/,
    );
    expect(await refused("train vae --kind table --data mnist")).toMatch(/mnist is neither a path nor a table/);
    expect(await refused(`train vae ${digits} --likelihood gaussian --binarize dynamic`)).toMatch(/only .* bernoulli/);
    expect(await refused(`train vae ${digits} --without-class cat`)).toMatch(/cat is no class .* 0, 1, 2/);
  });
});

describe("genai train vae --kind conditional", () => {
  it("draws a row of each class, and the class asked for", async () => {
    await json(`train vae --kind conditional ${digits} --hidden-dims 32 --out conditional`);
    expect(decode(read("conditional", "samples.png")).height).toBe(10 * (84 + 2) + 2);
    const seven = await json("sample conditional --class 7 --count 2 --out seven.png");
    const eight = await json("sample conditional --class 8 --count 2 --out eight.png");
    expect([seven.count, eight.count]).toEqual([2, 2]);
    expect(read("seven.png").equals(read("eight.png"))).toBe(false);
    expect(await refused("sample conditional --class 10")).toMatch(/10 is no class .* 0 to 9/);
    expect(await refused("sample mlp --class 1")).toMatch(/knows no classes/);
  });
});

describe("genai anomaly", () => {
  it("scores the class that training left out, beside principal components, with a threshold", async () => {
    const run = "train vae --data drawn-digits --batch-size 32 --steps 20 --hidden-channels 4,8 --dense-dim 32";
    await json(`${run} --without-class 1 --out no-ones`);
    const found = await json("anomaly no-ones --false-positive-rate 0.1");
    expect(found).toMatchObject({ anomalies: 200, scored: 1100, file: join("no-ones", "anomalies.csv") });
    for (const area of [found.auroc, found.baselineAuroc]) expect(area > 0 && area < 1).toBe(true);
    const [header, ...lines] = rows(read("no-ones", "anomalies.csv").toString());
    expect(header).toEqual(["name", "score", "flagged", "anomaly"]);
    expect(lines.filter(([, , flagged]) => flagged === "1")).toHaveLength(found.flagged);
    // Of 900 normal images about a tenth is flagged.
    const wrong = lines.filter(([, , flagged, anomaly]) => flagged === "1" && anomaly === "0").length;
    expect(wrong).toBeGreaterThan(45);
    expect(wrong).toBeLessThan(150);
    expect(decode(read("no-ones", "anomalies.png")).width).toBe(12 * 86 + 2);
    const relative = await json("anomaly no-ones --score relative --out relative.csv");
    expect(relative.auroc).not.toBe(found.auroc);
    expect(relative.baselineAuroc).toBe(found.baselineAuroc);
    expect(await refused("anomaly no-ones --score colour")).toMatch(/colour is no score .* bound, relative, reconstr/);
  });
});

describe("genai impute", () => {
  it("fills in hidden pixels and compares with simpler ways", async () => {
    const filled = await json("impute no-ones --missing 0.25 --out filled.png");
    expect(filled.filled).toBeGreaterThan(0.2 * 240 * 784);
    for (const value of Object.values(filled.errors[0]).slice(1)) expect(value).toBeGreaterThan(0);
    // Twelve images in a row, in threes of original, gaps and filling.
    expect(decode(read("filled.png")).height).toBe(9 * 86 + 2);
    expect(await refused("impute no-ones")).toMatch(/Images have no gaps of their own; say with --missing/);
  });

  it("fills the empty cells of a CSV file of one's own, and keeps the others", async () => {
    const rng = new Rng(1);
    const draws = rng.draw({ kind: "normal", size: 400, mean: 0, std: 1 });
    const lines = Array.from({ length: 200 }, (_, i) => {
      const size = draws[i]!;
      const colour = size > 0 ? "red" : "blue";
      return [i % 10 === 3 ? "" : (10 + size).toFixed(3), (2 * size + 0.1 * draws[200 + i]!).toFixed(3), colour].join();
    });
    writeFileSync(join(cli.scratch, "own.csv"), `length,weight,colour\n${lines.join("\n")}\n`);
    const run = await json(
      "train vae --kind table --data own.csv --steps 60 --hidden-dims 32 --latent-dim 2 --out table",
    );
    expect(run.results.testNll).toEqual(expect.any(Number));
    expect(rows(read("table", "samples.csv").toString())[0]).toEqual(["length", "weight", "colour"]);

    const filled = await json("impute table --data own.csv --out whole.csv");
    expect(filled).toMatchObject({ examples: 200, filled: 20, errors: [] });
    const whole = rows(read("whole.csv").toString()).slice(1);
    for (const [i, line] of lines.entries()) {
      const [length, weight, colour] = line.split(",");
      expect(Number(whole[i]![1])).toBeCloseTo(Number(weight), 4);
      expect(whole[i]![2]).toBe(colour);
      if (length === "") expect(Number(whole[i]![0])).toBeGreaterThan(5);
      else expect(Number(whole[i]![0])).toBeCloseTo(Number(length), 4);
    }
    const { errors } = await json("impute table --missing 0.4 --out hidden.csv");
    expect(errors.map(({ measure }: { measure: string }) => measure.split(",")[0])).toEqual([
      "root mean squared error of hidden numbers",
      "share of hidden categories that are wrong",
    ]);
    expect((await json("anomaly table --data own.csv --out scores.csv")).scored).toBe(200);
    expect((await json("sample table --count 7 --out new.csv")).count).toBe(7);
    expect(rows(read("new.csv").toString())).toHaveLength(8);

    writeFileSync(join(cli.scratch, "green.csv"), "length,weight,colour\n1,2,green\n3,4,red\n");
    const { code, stderr } = await cli.run(["impute", "table", "--data", "green.csv"]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/green.*(blue|red)/)]);
  });
});

describe("genai train vae --kind vq", () => {
  it("shows how the codebook is used, and draws from the prior over codes", async () => {
    const options =
      "--data drawn-digits --batch-size 8 --steps 3 --codes 16 --code-dim 8 --prior-dim 16 --prior-layers 1";
    const { results } = await json(`train vae --kind vq ${options} --out vq`);
    expect(results.testNll).toBeCloseTo(results.testRecon + results.testCodes, 3);
    const [, charts] = read("vq", "report.html")
      .toString()
      .match(/const charts = (.*);/)!;
    const usage = JSON.parse(charts!).find(({ kind }: { kind: string }) => kind === "bars");
    expect(usage.columns[1]).toHaveLength(16);
    expect(usage.columns[1].reduce((a: number, b: number) => a + b)).toBe(2000 * 49);
    expect(usage.columns[1].filter((n: number) => n > 0)).toHaveLength(results.usedCodes);
    expect((await json("sample vq --count 4 --out codes.png")).count).toBe(4);
    expect(await json("export vq")).toMatchObject({ inputs: ["codes"], outputs: ["image"] });
    expect(await refused("anomaly vq")).toMatch(/kind vq cannot score anomalies; kinds that can are conv/);
  });
});

describe("genai train vae on one's own files", () => {
  it("takes a text file with a string on each line", async () => {
    const names = Array.from({ length: 60 }, (_, i) => `${"abc"[i % 3]}${"xyz"[i % 2]}${"é".repeat(i % 4)}`);
    writeFileSync(join(cli.scratch, "names.txt"), `${names.join("\n")}\n`);
    const options = "--steps 4 --batch-size 8 --hidden-size 8 --embedding-dim 4 --latent-dim 2";
    await json(`train vae --kind sequence --data names.txt ${options} --out words`);
    expect(read("words", "strings.txt").toString()).toContain("Drawn from the prior:");
    await json("sample words --count 5 --out drawn.txt");
    expect(read("drawn.txt").toString().split("\n")).toHaveLength(6);
  });

  it("takes a folder of images, names the broken ones, and goes on if asked", async () => {
    const folder = join(cli.scratch, "pictures");
    mkdirSync(folder);
    const rng = new Rng(2);
    for (let i = 0; i < 20; i++) {
      const data = Uint8Array.from(rng.draw({ kind: "uniform", size: 20 * 24 * 3, low: 0, high: 255 }));
      writeFileSync(join(folder, `${i}.png`), encode({ width: 24, height: 20, data, channels: 3, depth: 8 }));
    }
    writeFileSync(join(folder, "torn.png"), read("pictures", "3.png").subarray(0, 100));
    const options = "--image-size 16 --hidden-channels 4,8 --dense-dim 16 --latent-dim 3 --steps 3 --batch-size 4";
    const stopped = await cli.run(`train vae --data pictures ${options} --out own`.split(" "));
    expect(stopped.stderr).toMatch(/1 of 21 images cannot be read: .*torn\.png.*, or --skip-broken\.\n$/);
    expect(stopped.code).toBe(1);
    const { code, stderr } = await cli.run(`train vae --data pictures --skip-broken ${options} --out own`.split(" "));
    expect(stderr).toMatch(/Left out: .*torn\.png/);
    expect(code).toBe(0);
    // Colour means a discretized mixture of logistics, unless something else is asked for.
    const config = JSON.parse(read("own", "config.json").toString());
    expect(config.model).toMatchObject({
      imageSize: [16, 16],
      channels: 3,
      likelihood: { kind: "discretizedLogisticMixture" },
    });
    expect(config.settings.data).toBe(folder);
    expect(decode(read("own", "samples.png")).channels).toBe(3);
    // A folder is not where it was trained from.
    const scored = await json("anomaly own --data pictures --skip-broken --out scored.csv --false-positive-rate 0.5");
    expect(scored.scored).toBe(20);
    expect(rows(read("scored.csv").toString())[1]![0]).toMatch(/\.png$/);
  });
});
