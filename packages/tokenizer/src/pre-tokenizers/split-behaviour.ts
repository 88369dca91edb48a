import type { AlignedText } from "../aligned-text.ts";
import { sliceAligned } from "../aligned-text.ts";
import type { CodePointSet } from "../code-point-set.ts";
import type { PreTokenizer } from "../stages.ts";
import type { TextPattern } from "../text-pattern.ts";

/**
 * What becomes of the matches of a pattern that cuts a text, for "the-final--countdown" cut at "-":
 * - Removed: the, final, countdown
 * - Isolated: the, -, final, -, -, countdown
 * - MergedWithPrevious: the-, final-, -, countdown
 * - MergedWithNext: the, -final, -, -countdown
 * - Contiguous: the, -, final, --, countdown
 */
export type SplitBehaviour = "Removed" | "Isolated" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

export const splitBehaviours: readonly SplitBehaviour[] = [
  "Removed",
  "Isolated",
  "MergedWithPrevious",
  "MergedWithNext",
  "Contiguous",
];

type ForEachMatch = (text: string, found: (start: number, end: number) => void) => void;

/** Cuts at the matches of a pattern; `invert` takes what lies between them for the matches. */
export function splitAt(forEachMatch: ForEachMatch, behaviour: SplitBehaviour, invert = false): PreTokenizer {
  return (source) => {
    const { length } = source.text;
    if (length === 0) return [];
    // Ends of the parts and whether each is a match; they tile the text.
    const ends: number[] = [];
    const isMatch: boolean[] = [];
    let last = 0;
    forEachMatch(source.text, (start, end) => {
      if (start > last) {
        ends.push(start);
        isMatch.push(invert);
      }
      ends.push(end);
      isMatch.push(!invert);
      last = end;
    });
    if (last < length) {
      ends.push(length);
      isMatch.push(invert);
    }
    return cutParts(source, ends, isMatch, behaviour);
  };
}

function cutParts(source: AlignedText, ends: number[], isMatch: boolean[], behaviour: SplitBehaviour): AlignedText[] {
  const pieces: AlignedText[] = [];
  let start = 0;
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i]!;
    if (joinsNext(isMatch, i, behaviour)) continue;
    if (!(behaviour === "Removed" && isMatch[i]) && end > start) pieces.push(sliceAligned(source, start, end));
    start = end;
  }
  return pieces;
}

/** Whether part i and the next are one piece. */
function joinsNext(isMatch: readonly boolean[], i: number, behaviour: SplitBehaviour): boolean {
  if (i + 1 === isMatch.length) return false;
  switch (behaviour) {
    case "Contiguous":
      return isMatch[i] === isMatch[i + 1];
    case "MergedWithPrevious":
      return isMatch[i + 1]! && !isMatch[i];
    case "MergedWithNext":
      return isMatch[i]! && !isMatch[i + 1];
    default:
      return false;
  }
}

/** Cuts at a pattern of tokenizer.json. */
export function splitAtPattern(pattern: TextPattern, behaviour: SplitBehaviour, invert = false): PreTokenizer {
  return splitAt((text, found) => pattern.forEachMatch(text, found), behaviour, invert);
}

/** Cuts at each character of a set. */
export function splitAtSet(set: CodePointSet, behaviour: SplitBehaviour): PreTokenizer {
  return splitAt((text, found) => {
    for (let i = 0; i < text.length; ) {
      const codePoint = text.codePointAt(i)!;
      const end = i + (codePoint > 0xffff ? 2 : 1);
      if (set.has(codePoint)) found(i, end);
      i = end;
    }
  }, behaviour);
}

/** The pieces of all pieces. */
export function thenSplit(pieces: readonly AlignedText[], split: PreTokenizer): readonly AlignedText[] {
  if (pieces.length === 1) return split(pieces[0]!);
  return pieces.flatMap((piece) => split(piece));
}
