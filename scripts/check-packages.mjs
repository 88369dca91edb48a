// Packs every package that is published, exactly as publishing would, and checks what a user would get: publint, the
// files, the manifest, the source maps, the imports, and that plain Node loads the built entry. Run after a build.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import ts from "typescript";

const root = fileURLToPath(new URL("..", import.meta.url));
const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));
const engines = readJson(join(root, "package.json")).engines.node;
const license = readFileSync(join(root, "LICENSE"), "utf8");

function sh(command, args, cwd) {
  const result = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    timeout: 120_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { ok: result.status === 0, output: `${result.stdout}${result.stderr}`.trim() };
}

/** Every file under `folder`, as paths relative to it, with forward slashes. */
function listFiles(folder, prefix = "") {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(prefix, entry.name);
    return entry.isDirectory() ? listFiles(folder, path) : [path];
  });
}

/** Every file path that a value of `exports` or `bin` names. */
function targets(value) {
  if (typeof value === "string") return [posix.normalize(value)];
  return Object.values(value ?? {}).flatMap(targets);
}

const packageOf = (specifier) => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");

async function check(source, scratch) {
  const problems = [];
  const need = (condition, message) => condition || problems.push(message);

  const packed = sh(
    process.execPath,
    [join(root, "node_modules/pnpm/bin/pnpm.cjs"), "pack", "--pack-destination", scratch],
    source,
  );
  if (!packed.ok) return { problems: [`pnpm pack failed:\n${packed.output}`], summary: "" };
  const tarball = readdirSync(scratch).find((name) => name.endsWith(".tgz"));
  const unpacked = sh("tar", ["-xzf", tarball], scratch);
  if (!unpacked.ok) return { problems: [`tar failed:\n${unpacked.output}`], summary: "" };
  const folder = join(scratch, "package");
  const files = listFiles(folder);
  const manifest = readJson(join(folder, "package.json"));
  const has = (file) => files.includes(posix.normalize(file));

  const { messages } = await publint({ pkgDir: folder, strict: true, pack: false });
  for (const message of messages) problems.push(`publint ${message.type}: ${formatMessage(message, manifest)}`);

  // The manifest.
  for (const field of ["description", "license", "type", "engines", "files"]) need(manifest[field], `no '${field}'`);
  need(manifest.license === "Apache-2.0", `license (${manifest.license}) must be Apache-2.0`);
  need(manifest.engines?.node === engines, `engines.node (${manifest.engines?.node}) must be ${engines}`);
  need(manifest.bin || manifest.sideEffects !== undefined, "'sideEffects' is not declared");
  for (const field of ["dependencies", "peerDependencies", "optionalDependencies"]) {
    for (const [name, range] of Object.entries(manifest[field] ?? {})) {
      need(!/^(workspace|link|file|catalog):/.test(range), `${field}: ${name} (${range}) must be a published range`);
    }
  }

  // The files.
  need(has("LICENSE") && readFileSync(join(folder, "LICENSE"), "utf8") === license, "LICENSE is not the repository's");
  need(
    has("README.md") && readFileSync(join(folder, "README.md"), "utf8").includes(manifest.name),
    `README.md does not name ${manifest.name}`,
  );
  const entries = [...targets(manifest.exports), ...targets(manifest.bin)];
  need(entries.length > 0, "neither 'exports' nor 'bin'");
  for (const entry of entries) need(has(entry), `${entry} is named in package.json but not packed`);
  for (const entry of targets(manifest.exports)) {
    if (entry.endsWith(".js")) need(has(entry.replace(/\.js$/, ".d.ts")), `${entry} comes without its .d.ts`);
  }
  const unwanted = /(^|\/)(tests?|golden|node_modules|runs)\/|\.test\.|\.tsbuildinfo$|\.env|(^|\/)tsup\.config/;
  for (const file of files) need(!unwanted.test(file), `${file} should not be packed`);

  // The source maps.
  for (const file of files.filter((name) => name.endsWith(".map"))) {
    const map = readJson(join(folder, file));
    for (const path of map.sources) {
      need(!/^(\/|[a-z]+:)|node_modules/i.test(path), `${file} refers to ${path}`);
      need(
        map.sourcesContent || has(posix.join(dirname(file), path)),
        `${file} refers to ${path}, which is not packed`,
      );
    }
  }

  // The code: it imports what the manifest declares, and a library's entry loads in a browser.
  const declared = new Set([
    manifest.name,
    ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies }),
  ]);
  for (const file of files.filter((name) => /^dist\/.*\.(js|d\.ts)$/.test(name))) {
    const text = readFileSync(join(folder, file), "utf8");
    for (const { fileName } of ts.preProcessFile(text, true, false).importedFiles) {
      if (fileName.startsWith(".") || fileName.startsWith("node:")) continue;
      need(declared.has(packageOf(fileName)), `${file} imports ${fileName}, which package.json does not declare`);
    }
    const nodeOnly = /^import\b[^;]*?["'](node:[^"']+)["']/m.exec(text);
    need(
      manifest.bin || !nodeOnly || file.endsWith(".d.ts"),
      `${file} imports ${nodeOnly?.[1]} statically; a browser cannot load it`,
    );
  }

  // Plain Node, as a user runs it.
  const bin = targets(manifest.bin)[0];
  if (bin) {
    const help = sh(process.execPath, [join(source, bin), "--help"], root);
    need(help.ok, `${bin} --help failed:\n${help.output}`);
  } else {
    const code = `const m = await import(${JSON.stringify(manifest.name)}); if (Object.keys(m).length === 0) throw new Error("it exports nothing");`;
    const loaded = sh(process.execPath, ["--input-type=module", "-e", code], root);
    need(loaded.ok, `plain Node cannot import ${manifest.name}:\n${loaded.output}`);
  }

  const size = statSync(join(scratch, tarball)).size;
  return { problems, summary: `${files.length} files, ${(size / 1024).toFixed(0)} KiB packed` };
}

let failed = 0;
for (const group of ["packages", "apps"]) {
  for (const name of readdirSync(join(root, group)).sort()) {
    const source = join(root, group, name);
    if (!existsSync(join(source, "package.json"))) continue;
    const manifest = readJson(join(source, "package.json"));
    if (manifest.private) continue;
    const scratch = mkdtempSync(join(tmpdir(), "genai-pack-"));
    try {
      const { problems, summary } = await check(source, scratch);
      console.log(`${problems.length === 0 ? "ok    " : "FAILED"} ${manifest.name}  ${summary}`);
      for (const problem of problems) console.log(`       - ${problem}`);
      if (problems.length > 0) failed += 1;
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}
process.exitCode = failed === 0 ? 0 : 1;
