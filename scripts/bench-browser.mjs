#!/usr/bin/env node
// Runs one of the CLI's benchmark jobs in a real Chromium and prints its JSON line:
//   node scripts/bench-browser.mjs gpt_cpu onnx:wasm --steps 10
// The page is cross-origin isolated, so that WebAssembly has threads. CHROMIUM_PATH names another browser.
import { readdirSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { createServer, defaultClientConditions } from "vite";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: "string", default: "10" }, warmup: { type: "string", default: "2" } },
});
const [job = "gpt_cpu", engine = "onnx:wasm"] = positionals;

const page = `<!doctype html><title>bench</title><script type="module">
import { createEngine } from "@genai/core";
import { benchJobs } from "/apps/cli/src/bench/index.ts";
globalThis.runBench = async (job, name, request) => {
  const engine = await createEngine(name);
  const found = benchJobs.find((candidate) => candidate.name === job);
  if (!found) throw new Error("no benchmark is called " + job);
  return found.run(engine, { seed: 0, threads: navigator.hardwareConcurrency, ...request });
};
globalThis.ready = true;
</script>`;

// What the packages depend on may be CommonJS, which vite must convert before the page asks for it.
const converted = readdirSync("packages").flatMap((name) => {
  const { dependencies = {} } = JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8"));
  const foreign = Object.keys(dependencies).filter((dependency) => !dependency.startsWith("@genai/"));
  return foreign.map((dependency) => `@genai/${name} > ${dependency}`);
});

const server = await createServer({
  configFile: false,
  logLevel: "error",
  resolve: { conditions: ["@genai/source", ...defaultClientConditions] },
  // Nothing is discovered later, which would reload the page in the middle of a measurement.
  optimizeDeps: {
    noDiscovery: true,
    include: ["@tensorflow/tfjs", ...converted],
    exclude: ["onnxruntime-web"],
  },
  server: {
    port: 0,
    headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" },
  },
  plugins: [
    {
      name: "bench-page",
      configureServer: ({ middlewares, transformIndexHtml }) => {
        middlewares.use("/bench", async (_, response) => {
          response.setHeader("Content-Type", "text/html");
          response.end(await transformIndexHtml("/bench", page));
        });
      },
    },
  ],
});
await server.listen();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
  args: JSON.parse(readFileSync("scripts/chromium-flags.json", "utf8")),
});
try {
  const tab = await browser.newPage();
  const broken = new Promise((_, reject) => tab.on("pageerror", reject));
  await tab.goto(`http://localhost:${server.httpServer.address().port}/bench`);
  await Promise.race([broken, tab.waitForFunction("globalThis.ready", null, { timeout: 120_000 })]);
  const request = { steps: Number(values.steps), warmup: Number(values.warmup) };
  const result = await tab.evaluate(([j, e, r]) => globalThis.runBench(j, e, r), [job, engine, request]);
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  await browser.close();
  await server.close();
}
