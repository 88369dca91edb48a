import { describe, expect, test } from "vitest";
import { alignedText, pushOriginalRange } from "../../src/aligned-text.ts";
import type { StageJson } from "../../src/index.ts";
import { createNormalizer } from "../../src/normalizers/create-normalizer.ts";
import { createPreTokenizer } from "../../src/pre-tokenizers/create-pre-tokenizer.ts";
import { randomNumbers, randomText } from "../random-text.ts";
import { loadRustLibrary } from "../training/rust-library.ts";
import { rustStages, tinyModel, utf16Indices } from "./rust-tokenizer.ts";
import { normalizers, preTokenizers } from "./stages.ts";

const rust = await loadRustLibrary();
const rounds = 1000;

/**
 * Expects the same from both libraries. The one exception: JavaScript engines and Oniguruma know different versions of
 * Unicode, so a text may differ when one of its characters differs on its own.
 */
function compare(ours: (text: string) => unknown, theirs: (text: string) => unknown, seed: number): void {
  const next = randomNumbers(seed);
  const same = (text: string) => JSON.stringify(ours(text)) === JSON.stringify(theirs(text));
  let newer = 0;
  for (let i = 0; i < rounds; i++) {
    const text = randomText(next, 12);
    if (same(text)) continue;
    const differs = [...text].some(
      (c) => ![c, `a${c}`, `${c}a`, ` ${c}.`, `1${c}1`, `-ab${c}-`, `ab${c}`, `${c}ab -`].every(same),
    );
    if (!differs) expect(ours(text)).toEqual(theirs(text));
    newer++;
  }
  expect(newer).toBeLessThan(rounds / 50);
}

describe.skipIf(rust === null)("the Rust library", () => {
  test.each(normalizers.map((json) => [JSON.stringify(json), json] as [string, StageJson]))(
    "normalizes like %s",
    (_, json) => {
      const ours = createNormalizer(json, "normalizer");
      const theirs = rustStages(rust!, { normalizer: json, model: tinyModel }).getNormalizer()!;
      compare(
        (text) => ours(alignedText(text)).text,
        (text) => theirs.normalizeString(text),
        1,
      );
    },
  );

  test.each(preTokenizers.map((json) => [JSON.stringify(json), json] as [string, StageJson]))(
    "cuts like %s",
    (_, json) => {
      const ours = createPreTokenizer(json, "pre_tokenizer");
      const theirs = rustStages(rust!, { pre_tokenizer: json, model: tinyModel }).getPreTokenizer()!;
      compare(
        (text) =>
          ours(alignedText(text)).map((piece) => {
            const range: number[] = [];
            pushOriginalRange(piece, 0, piece.text.length, range);
            return [piece.text, ...range];
          }),
        (text) => {
          const at = utf16Indices(text);
          return theirs.preTokenizeString(text).map(([piece, [start, end]]) => [piece, at[start], at[end]]);
        },
        2,
      );
    },
  );
});
