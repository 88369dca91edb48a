import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

let cli: SourceCli;
beforeAll(async () => {
  cli = await buildSourceCli();
});
afterAll(() => cli?.dispose());

const commands = [
  [],
  ["quickstart"],
  ["train"],
  ["train", "vae"],
  ["train", "gpt"],
  ["sample"],
  ["generate"],
  ["anomaly"],
  ["impute"],
  ["reproduce"],
  ["tokenizer"],
  ["tokenizer", "train"],
  ["tokenizer", "encode"],
  ["tokenizer", "decode"],
  ["tokenizer", "info"],
  ["bench"],
  ["export"],
  ["doctor"],
];

describe("genai", () => {
  it.each(commands.map((command) => [command.join(" ") || "genai", command]))(
    "explains %s with examples and exit codes",
    async (_, command) => {
      const { code, stdout, stderr } = await cli.run([...command, "--help"]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^Usage: genai/);
      expect(stdout).toContain("Examples:\n");
      expect(stdout).toMatch(/130 {2}interrupted/);
    },
  );

  it.each([
    ["an unknown command", ["trian"], /unknown command 'trian'[\s\S]*Did you mean train\?/],
    ["an unknown family", ["train", "vaee"], /unknown command 'vaee'[\s\S]*Did you mean vae\?/],
    ["an unknown option", ["quickstart", "--stps", "3"], /unknown option '--stps'[\s\S]*Did you mean --steps\?/],
    [
      "an unknown data set",
      ["train", "vae", "--data", "minst"],
      /--data minst is neither a path nor an image set; expected a folder .*mnist.*drawn-digits/,
    ],
    [
      "a number that is none",
      ["train", "vae", "--steps", "many"],
      /'many' is invalid\. Expected a whole number of at least 1/,
    ],
    ["an unknown device", ["quickstart", "--device", "abacus"], /No device is called abacus; there is auto, cpu/],
    ["an unknown engine", ["quickstart", "--device", "tfjs:abacus"], /engine \(tfjs:abacus\) is unknown/],
    ["an unknown recipe", ["reproduce", "gpt-5"], /No recipe is called gpt-5; there is vae-mnist/],
    ["a folder that holds no run", ["sample", "."], /\. is no run folder: it has no config\.json\.\n$/],
    ["an argument that is missing", ["export"], /missing required argument 'run'/],
  ])("refuses %s with exit code 2 and a sentence", async (_, args, message) => {
    const { code, stdout, stderr } = await cli.run(args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("    at ");
    expect([code, stdout]).toEqual([2, ""]);
  });

  it("prints the stack with --verbose", async () => {
    const { code, stderr } = await cli.run(["sample", ".", "--verbose"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/UsageError: \. is no run folder.*\n {4}at /);
  });

  it("ends with exit code 3 when an engine cannot be had here", async () => {
    // No WebGL in Node.
    const { code, stderr } = await cli.run(["train", "vae", "--data", "drawn-digits", "--device", "webgl"]);
    expect(stderr).toMatch(/webgl cannot be had here/);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(code).toBe(3);
  });

  it("ends with exit code 3 when a data set cannot be had here", async () => {
    const { code, stderr } = await cli.run(["train", "vae", "--data", "mnist"]);
    expect(stderr).toMatch(/mnist.* cannot be had: no GENAI_DATA_DIR, not in the cache, and the download failed/);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(code).toBe(3);
  });

  it("doctor finds the engines that work and the data that is drawn, as JSON", async () => {
    const { code, stdout } = await cli.run(["doctor", "--json"]);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(stdout.trim().split("\n")).toHaveLength(1);
    const engines = Object.fromEntries(report.engines.map((e: { name: string; works: boolean }) => [e.name, e.works]));
    expect(engines).toMatchObject({ "onnx:cpu": true, "tfjs:wasm": true, "tfjs:cpu": true });
    for (const engine of report.engines) expect(engine.detail).toMatch(/\S/);
    const data = Object.fromEntries(report.data.map((d: { name: string; state: string }) => [d.name, d.state]));
    expect(data).toMatchObject({ mnist: "download", "noto-emoji": "missing", "drawn-digits": "drawn" });
    expect(report.versions["@tensorflow/tfjs"]).toMatch(/^4\./);
  });

  it("doctor says the same to people", async () => {
    const { code, stdout } = await cli.run(["doctor"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/works +onnx:cpu/);
    expect(stdout).toMatch(/download +mnist/);
  });
});
