import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "tsup";
import packageJson from "../package.json" with { type: "json" };

// Runs the command line as a user does, as a process of its own, but built from the source as it is now, so that the
// tests never see an old build.

const packageDir = fileURLToPath(new URL("..", import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What the program reads from its standard input; nothing by default. */
  readonly input?: string;
  /** Sends a signal once, as soon as the condition holds. */
  readonly interrupt?: { readonly signal: NodeJS.Signals; readonly when: (stdout: string) => boolean };
}

export interface SourceCli {
  /** An empty folder for the test's files. */
  readonly scratch: string;
  run(args: readonly string[], options?: RunOptions): Promise<Finished>;
  dispose(): void;
}

export async function buildSourceCli(): Promise<SourceCli> {
  // Inside the package, so that what stays outside the bundle is resolved as it is for the installed program.
  const cache = join(packageDir, "node_modules", ".cache");
  mkdirSync(cache, { recursive: true });
  const root = mkdtempSync(join(cache, "genai-cli-test-"));
  const outDir = join(root, "dist");
  await build({
    config: false,
    entry: [join(packageDir, "src/main.ts")],
    outDir,
    format: "esm",
    platform: "node",
    target: "node20",
    splitting: true,
    silent: true,
    noExternal: [/^@genai\//],
    external: [
      ...Object.keys(packageJson.dependencies).filter((name) => !name.startsWith("@genai/")),
      /^@tensorflow\//,
      /^onnxruntime-/,
      "webgpu",
    ],
    esbuildOptions(options) {
      options.conditions = ["@genai/source"];
    },
  });
  // The tests need no network, and must come out the same where there is one.
  const offline = join(root, "offline.mjs");
  writeFileSync(
    offline,
    `globalThis.fetch = async () => { throw new TypeError("fetch failed", { cause: Object.assign(new Error("offline"), { code: "ENOTFOUND" }) }); };\n`,
  );
  const scratch = join(root, "scratch");
  mkdirSync(scratch);
  const environment: NodeJS.ProcessEnv = { ...process.env, GENAI_CACHE_DIR: join(root, "cache"), NO_COLOR: "1" };
  delete environment.GENAI_DATA_DIR;
  return {
    scratch,
    run: (args, options = {}) =>
      new Promise((resolve, reject) => {
        const child = spawn(
          process.execPath,
          ["--import", pathToFileURL(offline).href, join(outDir, "main.js"), ...args],
          { cwd: scratch, env: { ...environment, ...options.env }, stdio: ["pipe", "pipe", "pipe"] },
        );
        // A program that does not read it may be gone before it is written.
        child.stdin.on("error", () => {}).end(options.input ?? "");
        let stdout = "";
        let stderr = "";
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          stdout += text;
        });
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          stderr += text;
        });
        const { interrupt } = options;
        const watch = setInterval(() => {
          if (!interrupt?.when(stdout)) return;
          child.kill(interrupt.signal);
          clearInterval(watch);
        }, 20);
        child.on("error", reject);
        child.on("close", (code, signal) => {
          clearInterval(watch);
          resolve({ code, signal, stdout, stderr });
        });
      }),
    dispose: () => rmSync(root, { recursive: true, force: true }),
  };
}
