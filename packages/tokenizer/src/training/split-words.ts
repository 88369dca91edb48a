import { alignedText } from "../aligned-text.ts";
import { createNormalizer } from "../normalizers/create-normalizer.ts";
import { byteLevelCut, createPreTokenizer } from "../pre-tokenizers/create-pre-tokenizer.ts";
import type { StageJson } from "../tokenizer-json.ts";
import type { WordSplitter } from "./count-words.ts";

/** What cuts a text into the words that the normalizer and the pre-tokenizer of a tokenizer make of it. */
export function createSplitter(
  trainer: string,
  normalizer: StageJson | null,
  preTokenizer: StageJson | null,
): WordSplitter {
  const normalize = normalizing(trainer, normalizer);
  if (preTokenizer === null) {
    return (text, onWord) => {
      const normalized = normalize(text);
      if (normalized !== "") onWord(normalized);
    };
  }
  const cut = createPreTokenizer(preTokenizer, `${trainer}: split`);
  return (text, onWord) => {
    for (const piece of cut(alignedText(normalize(text)))) if (piece.text !== "") onWord(piece.text);
  };
}

/** The same for a pre-tokenizer of `byteSplitStage`. The words are parts of the text as it is, not yet bytes. */
export function createRawSplitter(
  trainer: string,
  normalizer: StageJson | null,
  preTokenizer: StageJson,
): WordSplitter {
  const normalize = normalizing(trainer, normalizer);
  const cut = byteLevelCut(preTokenizer, `${trainer}: split`)!;
  return (text, onWord) => {
    const normalized = normalize(text);
    const { scanner } = cut;
    if (scanner === null) {
      cut.forEachPiece(normalized, (start, end) => onWord(normalized.slice(start, end)));
      return;
    }
    for (let start = 0; start < normalized.length; ) {
      const end = scanner(normalized, start);
      onWord(normalized.slice(start, end));
      start = end;
    }
  };
}

function normalizing(trainer: string, normalizer: StageJson | null): (text: string) => string {
  if (normalizer === null) return (text) => text;
  const normalize = createNormalizer(normalizer, `${trainer}: normalizer`);
  return (text) => normalize(alignedText(text)).text;
}
