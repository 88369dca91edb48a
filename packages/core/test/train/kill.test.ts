import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { Rng } from "../../src/rng.ts";
import { bundleForNode } from "./bundle-for-node.ts";

// GENAI_KILL_ENGINES=onnx:webgpu,tfjs:wasm runs the same test on other engines.
const engines = (process.env.GENAI_KILL_ENGINES ?? "tfjs:cpu,onnx:cpu").split(",");
const STEPS = 300;
const EVERY = 3;

let child: string;
let work: string;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "genai-kill-"));
  child = await bundleForNode(fileURLToPath(new URL("./train-child.ts", import.meta.url)), "train-child");
});
afterAll(() => {
  rmSync(work, { recursive: true });
  rmSync(dirname(child), { recursive: true });
});

interface Events {
  steps: number[];
  resumedAt: number | undefined;
  hash: string | undefined;
  killed: boolean;
}

/** Runs the child to its end, or kills it some time after it has reported a step. */
function run(engine: string, folder: string, kill?: { afterStep: number; delayMs: number }): Promise<Events> {
  return new Promise((resolve, reject) => {
    const events: Events = { steps: [], resumedAt: undefined, hash: undefined, killed: false };
    const running = spawn(process.execPath, [child, engine, folder, String(STEPS), String(EVERY)]);
    let text = "";
    let errors = "";
    let armed = kill !== undefined;
    running.stderr.on("data", (chunk) => {
      errors += chunk;
    });
    running.stdout.on("data", (chunk) => {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("{")) continue;
        const { event, step, hash } = JSON.parse(line);
        if (event === "resume") events.resumedAt = step;
        if (event === "end") events.hash = hash;
        if (event !== "step") continue;
        events.steps.push(step);
        if (armed && step >= kill!.afterStep) {
          armed = false;
          setTimeout(() => running.kill("SIGKILL"), kill!.delayMs);
        }
      }
    });
    running.on("error", reject);
    running.on("close", (code, signal) => {
      events.killed = signal === "SIGKILL";
      if (code === 0 || events.killed) resolve(events);
      else reject(new Error(`child ended with ${code ?? signal}: ${errors}`));
    });
  });
}

test.each(engines)(
  "%s: killed with -9 at random moments and resumed, it ends with the bits of a run without a break",
  async (engine) => {
    const whole = await run(engine, join(work, `${engine.replace(":", "-")}-whole`));
    expect(whole.steps.length).toBe(STEPS);
    expect(whole.hash).toMatch(/^[0-9a-f]{64}$/);

    const folder = join(work, `${engine.replace(":", "-")}-broken`);
    // Another seed each time: over many runs the kills fall everywhere, in the middle of a write too.
    const rng = new Rng(Date.now());
    const delays = rng.draw({ kind: "uniform", size: 3, low: 0, high: 12 });
    let kills = 0;
    for (const [i, delayMs] of delays.entries()) {
      const events = await run(engine, folder, { afterStep: 30 + 90 * i, delayMs });
      if (events.killed) kills += 1;
      // Whatever stands under its final name is whole.
      const files = readdirSync(folder).filter((file) => !file.startsWith("."));
      expect(files.length).toBeGreaterThan(0);
      for (const file of files) await (await openSafetensors(join(folder, file))).close();
      if (i > 0) expect(events.resumedAt).toBeGreaterThan(0);
    }
    expect(kills).toBeGreaterThanOrEqual(1);
    const end = await run(engine, folder);
    expect(end.resumedAt).toBeGreaterThan(30);
    expect(end.steps.length).toBeLessThan(STEPS);
    expect(end.hash).toBe(whole.hash);
    // Temporaries of the killed are gone, and the two newest are kept.
    const left = readdirSync(folder).sort();
    expect(left).toEqual([`checkpoint-00000${STEPS - EVERY}.safetensors`, `checkpoint-00000${STEPS}.safetensors`]);
  },
  60_000,
);
