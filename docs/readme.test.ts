import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { writeReadmeExamples } from "../scripts/readme-examples.mjs";

const examples = writeReadmeExamples();

describe("The READMEs' examples", () => {
  const home = process.cwd();
  let scratch = "";

  // What an example writes or prints belongs to the reader, not to the repository or the test report.
  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "genai-readme-"));
    process.chdir(scratch);
    vi.spyOn(console, "log").mockImplementation(() => {});
  });

  afterEach(() => {
    process.chdir(home);
    vi.restoreAllMocks();
    rmSync(scratch, { recursive: true, force: true });
  });

  it("stand at least in the root's README", () => {
    expect(examples.map(({ title }) => title.split(":")[0])).toContain("README.md");
  });

  for (const { title, file } of examples.filter(({ run }) => run)) {
    it(`runs ${title}`, { timeout: 180_000 }, async () => {
      await import(/* @vite-ignore */ file);
    });
  }
});
