import { expect, test } from "vitest";
import { scannerFor } from "../../src/pre-tokenizers/scanners/scanners.ts";
import {
  cl100kPattern,
  cl100kTiktokenPattern,
  gpt2Pattern,
  o200kPattern,
  qwen2Pattern,
  r50kTiktokenPattern,
} from "../../src/pre-tokenizers/scanners/split-patterns.ts";
import { BoundedRegex } from "../../src/regex/bounded-regex.ts";
import { randomNumbers, randomText } from "../random-text.ts";

const patterns = { r50kTiktokenPattern, cl100kTiktokenPattern, gpt2Pattern, cl100kPattern, qwen2Pattern, o200kPattern };

/** The same pattern for JavaScript's own engine, where \s means White_Space and (?i:) is spelled out. */
function forJavaScript(pattern: string): RegExp {
  const contractions = "'(?:[sStTmMdD\u017f]|[rR][eE]|[vV][eE]|[lL][lL])";
  return new RegExp(
    pattern
      .replaceAll("(?i:'s|'t|'re|'ve|'m|'ll|'d)", `(?:${contractions})`)
      .replaceAll("'(?i:[sdmt]|ll|ve|re)", contractions)
      // Possessive: none of these runs can give back anything that the rest would take.
      .replace(/([+*?])\+/g, "$1")
      .replace("(?>", "(?:")
      .replaceAll("[^\\s", "[^\\p{White_Space}")
      .replaceAll("\\s", "\\p{White_Space}")
      .replaceAll("\\S", "\\P{White_Space}"),
    "gu",
  );
}

for (const [name, pattern] of Object.entries(patterns)) {
  test(`the scanner of ${name} cuts like the regular expression in both engines`, () => {
    const scan = scannerFor(pattern)!;
    const bounded = new BoundedRegex(pattern);
    const native = forJavaScript(pattern);
    const next = randomNumbers(7);
    for (let round = 0; round < 10_000; round++) {
      const text = randomText(next, 12);
      const pieces: string[] = [];
      for (let i = 0; i < text.length; ) {
        const end = scan(text, i);
        pieces.push(text.slice(i, end));
        i = end;
      }
      expect(pieces).toEqual(text.match(native));
      if (round % 4 === 0) {
        const found: string[] = [];
        bounded.forEachMatch(text, (start, end) => found.push(text.slice(start, end)));
        expect(found).toEqual(pieces);
      }
    }
  });

  test(`the scanner of ${name} knows every code point alone, behind a space and before a letter`, () => {
    const scan = scannerFor(pattern)!;
    const native = forJavaScript(pattern);
    for (let codePoint = 0; codePoint < 0x110000; codePoint += codePoint < 0x3000 ? 1 : 7) {
      if (codePoint >= 0xd800 && codePoint <= 0xdfff) continue;
      const text = `${String.fromCodePoint(codePoint)} ${String.fromCodePoint(codePoint)}a`;
      let joined = "";
      for (let i = 0; i < text.length; ) {
        const end = scan(text, i);
        joined += `${text.slice(i, end)}\0`;
        i = end;
      }
      if (joined !== `${text.match(native)!.join("\0")}\0`) expect(joined).toBe(`${text.match(native)!.join("\0")}\0`);
    }
  });
}
