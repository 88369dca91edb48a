import { originalStart } from "../aligned-text.ts";
import { prependText, replaceMatches } from "../normalizers/character-normalizers.ts";
import type { PreTokenizer } from "../stages.ts";
import { literalPattern } from "../text-pattern.ts";
import { splitAtPattern } from "./split-behaviour.ts";

export interface MetaspaceOptions {
  /** Stands for a space: "▁". */
  readonly replacement: string;
  /** Before which pieces the replacement is put: all, the one at the start of the text, none. */
  readonly prependScheme: "always" | "first" | "never";
  /** Whether to cut the text before each replacement. */
  readonly split: boolean;
}

/** SentencePiece's way with spaces: they become a visible letter that starts a word. */
export function metaspace({ replacement, prependScheme, split }: MetaspaceOptions): PreTokenizer {
  const replaceSpaces = replaceMatches(literalPattern(" "), replacement);
  const cut = splitAtPattern(literalPattern(replacement), "MergedWithNext");
  return (piece) => {
    let text = replaceSpaces(piece);
    const isWanted = prependScheme === "always" || (prependScheme === "first" && originalStart(piece, 0) === 0);
    if (isWanted && !text.text.startsWith(replacement)) text = prependText(text, replacement);
    return split ? cut(text) : text.text === "" ? [] : [text];
  };
}
