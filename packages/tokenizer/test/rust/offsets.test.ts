import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadTokenizer } from "../../src/index.ts";
import { randomNumbers, randomText } from "../random-text.ts";
import { loadRustLibrary } from "../training/rust-library.ts";
import { rustStages, utf16Indices } from "./rust-tokenizer.ts";

const folder = process.env.GENAI_DATA_DIR && join(process.env.GENAI_DATA_DIR, "tokenizers");
const rust = await loadRustLibrary();
const rounds = Number(process.env.GENAI_PEER_STRINGS ?? 400);

// What normalization composes, and runs that it replaces by one character, stand for all of it here and for one of the
// characters there, so the texts of the others are without marks and runs.
const plain = (text: string) => text.normalize("NFC").replace(/\p{M}|\u200d/gu, "");
const withoutRuns = (text: string) => plain(text.normalize("NFKC")).replace(/[\s\p{Cc}\p{Cf}\u2581\ufffd]+/gu, " ");

describe.skipIf(!folder || rust === null)("offsets, ids and decoded text are those of the Rust library", () => {
  test.each([
    ["gpt2", (text: string) => text],
    ["tiktoken/cl100k_base.tiktoken", (text: string) => text],
    ["llama2/tokenizer.model", (text: string) => text],
    ["bert-base-uncased", plain],
    ["albert-unigram/spiece.model", withoutRuns],
  ])(
    "%s",
    async (path, change) => {
      const ours = await loadTokenizer(join(folder!, path));
      const theirs = rustStages(rust!, ours.toJson());
      const next = randomNumbers(31);
      for (let i = 0; i < rounds; i++) {
        // Without code points that only a newer Unicode knows.
        const text = change(randomText(next, i % 20 === 0 ? 60 : 10, false));
        const a = ours.encode(text, { allowedSpecial: "all" });
        const b = await theirs.encode(text);
        const at = utf16Indices(text);
        expect({ text, ids: [...a.ids] }).toEqual({ text, ids: b.getIds() });
        expect({ text, offsets: a.offsets }).toEqual({
          text,
          offsets: b.getOffsets().map((range) => range.map((index) => at[index]!)),
        });
        expect(ours.decode(a.ids)).toBe(await theirs.decode(b.getIds(), true));
      }
    },
    60_000 + 20 * rounds,
  );
});
