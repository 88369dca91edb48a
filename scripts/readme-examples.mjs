// Writes every ```ts block of the READMEs to a file of its own in docs/.examples (git-ignored), so that the type checker
// and docs/readme.test.ts see exactly what a reader copies. Blocks marked ```ts no-run are type-checked only, and those marked
// ```ts with-data run where GENAI_DATA_DIR holds the real data sets.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "docs", ".examples");

/** Writes the examples and lists them: where each stands, its file, whether it is to be run. */
export function writeReadmeExamples() {
  const readmes = ["README.md"];
  for (const group of ["packages", "apps"]) {
    for (const name of readdirSync(join(root, group)).sort()) readmes.push(`${group}/${name}/README.md`);
  }
  const examples = [];
  for (const readme of readmes.filter((file) => existsSync(join(root, file)))) {
    const text = readFileSync(join(root, readme), "utf8");
    for (const match of text.matchAll(/^```ts([^\n]*)\n([\s\S]*?)^```/gm)) {
      const line = text.slice(0, match.index).split("\n").length;
      const stem = readme === "README.md" ? "root" : basename(dirname(readme));
      const file = join(folder, `${stem}-${line}.ts`);
      const mark = match[1].trim();
      const run = mark === "with-data" ? Boolean(process.env.GENAI_DATA_DIR) : mark !== "no-run";
      examples.push({ title: `${readme}:${line}`, file, run, code: match[2] });
    }
  }
  mkdirSync(folder, { recursive: true });
  const wanted = new Set(examples.map(({ file }) => basename(file)));
  for (const name of readdirSync(folder)) if (!wanted.has(name)) rmSync(join(folder, name));
  for (const { file, code, title } of examples) writeFileSync(file, `// From ${title}\n${code}export {};\n`);
  return examples;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeReadmeExamples();
