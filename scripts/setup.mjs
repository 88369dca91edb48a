// Makes a checkout ready to run: installs the dependencies when they changed, then builds what changed.
// `npm start` and `npm test` call it first. Needs Node and npm only; pnpm comes through npx, at the pinned version.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const stampFile = join(root, "node_modules", ".setup-stamp");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const wanted = manifest.engines.node
  .match(/(\d+)\.(\d+)/)
  .slice(1)
  .map(Number);
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < wanted[0] || (major === wanted[0] && minor < wanted[1])) {
  console.error(`set-up: Node ${process.versions.node} is too old; expected ${manifest.engines.node}`);
  process.exit(1);
}

/** Changes whenever an install could have something to do. */
function fingerprint() {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch} ${process.version}`);
  const files = ["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"];
  for (const folder of ["packages", "apps"]) {
    for (const name of readdirSync(join(root, folder)).sort()) files.push(join(folder, name, "package.json"));
  }
  for (const file of files) {
    if (existsSync(join(root, file))) hash.update(`\n${file}\n`).update(readFileSync(join(root, file)));
  }
  return hash.digest("hex");
}

/** Runs a command silently; when it fails, shows all that it printed and ends with its exit status. */
function run(what, command, args) {
  const started = Date.now();
  process.stderr.write(`set-up: ${what} ... `);
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "pipe"],
    // npm.cmd and turbo.cmd on Windows are scripts, which only a shell starts.
    shell: process.platform === "win32",
    env: {
      ...process.env,
      // turbo starts pnpm by its name; the pinned one lies among the development dependencies.
      PATH: `${join(root, "node_modules", ".bin")}${delimiter}${process.env.PATH}`,
      TURBO_TELEMETRY_DISABLED: "1",
      TURBO_NO_UPDATE_NOTIFIER: "1",
    },
  });
  process.stderr.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  if (result.error) process.stderr.write(`set-up: ${command}: ${result.error.message}\n`);
  process.stderr.write(`set-up: ${what} failed\n`);
  process.exit(result.status || 1);
}

const current = fingerprint();
if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== current) {
  run("installing dependencies", "npx", [
    "--yes",
    manifest.packageManager,
    "install",
    "--frozen-lockfile",
    "--prefer-offline",
  ]);
  writeFileSync(stampFile, current);
}
run("building packages", "turbo", ["run", "build", "--output-logs=errors-only"]);
