import { CodePointSet, numeric, punctuation, whitespace, wordCharacters } from "../code-point-set.ts";
import {
  asObject,
  booleanField,
  choiceField,
  fail,
  type JsonObject,
  sequenceStages,
  stringField,
  wholeField,
} from "../json-fields.ts";
import { byteLevelLetters, prependText } from "../normalizers/character-normalizers.ts";
import type { PreTokenizer } from "../stages.ts";
import { literalPattern, readPattern, type TextPattern } from "../text-pattern.ts";
import { metaspace } from "./metaspace.ts";
import { type Scanner, scanGpt2 } from "./scanners/scanners.ts";
import { splitAt, splitAtPattern, splitAtSet, splitBehaviours, thenSplit } from "./split-behaviour.ts";
import { unicodeScripts } from "./unicode-scripts.ts";

/** The pre-tokenizer that a tokenizer.json describes. `where` names the file and the field. */
export function createPreTokenizer(json: unknown, where: string): PreTokenizer {
  const object = asObject(json, where);
  const type = stringField(object, "type", where);
  switch (type) {
    case "Sequence": {
      const stages = sequenceStages(object, "pretokenizers", where, createPreTokenizer);
      return (text) => stages.reduce(thenSplit, [text] as ReturnType<PreTokenizer>);
    }
    case "ByteLevel":
      return byteLevel(object, where);
    case "BertPreTokenizer": {
      const words = splitAtSet(whitespace, "Removed");
      const marks = splitAtSet(punctuation, "Isolated");
      return (text) => thenSplit(words(text), marks);
    }
    case "Whitespace":
      return splitAt(forEachWord, "Removed", true);
    case "WhitespaceSplit":
      return splitAtSet(whitespace, "Removed");
    case "Metaspace": {
      const replacement = stringField(object, "replacement", where, "▁");
      if ([...replacement].length !== 1) fail(where, "replacement", replacement, "one character");
      // Files from before prepend_scheme say add_prefix_space.
      const old = booleanField(object, "add_prefix_space", where, true) ? "always" : "never";
      return metaspace({
        replacement,
        prependScheme: choiceField(object, "prepend_scheme", where, ["always", "first", "never"], old),
        split: booleanField(object, "split", where, true),
      });
    }
    case "Punctuation":
      return splitAtSet(punctuation, choiceField(object, "behavior", where, splitBehaviours, "Isolated"));
    case "Digits":
      return splitAtSet(numeric, booleanField(object, "individual_digits", where, false) ? "Isolated" : "Contiguous");
    case "Split": {
      const { pattern, behaviour, invert } = readSplit(object, where);
      return splitAtPattern(pattern, behaviour, invert);
    }
    case "CharDelimiterSplit":
      return splitAtPattern(literalPattern(stringField(object, "delimiter", where)), "Removed");
    case "UnicodeScripts":
      return unicodeScripts;
    case "FixedLength":
      return fixedLength(wholeField(object, "length", where, 1, 5));
    default:
      return fail(where, "type", type, "a pre-tokenizer (such as ByteLevel, Metaspace, Split, Sequence)");
  }
}

function readSplit(object: JsonObject, where: string) {
  return {
    pattern: readPattern(object.pattern, `${where}.pattern`),
    behaviour: choiceField(object, "behavior", where, splitBehaviours),
    invert: booleanField(object, "invert", where, false),
  };
}

function byteLevel(object: JsonObject, where: string): PreTokenizer {
  const addsSpace = booleanField(object, "add_prefix_space", where, true);
  const splits = booleanField(object, "use_regex", where, true);
  const cut = splitAt((text, found) => forEachScan(scanGpt2, text, found), "Isolated");
  return (piece) => {
    const text = addsSpace && !piece.text.startsWith(" ") ? prependText(piece, " ") : piece;
    if (!splits) return text.text === "" ? [] : [byteLevelLetters(text)];
    return cut(text).map(byteLevelLetters);
  };
}

function forEachScan(scan: Scanner, text: string, found: (start: number, end: number) => void): void {
  for (let i = 0; i < text.length; ) {
    const end = scan(text, i);
    found(i, end);
    i = end;
  }
}

const symbols = new CodePointSet((c) => !wordCharacters.has(c) && !whitespace.has(c));

/** Matches of `\w+|[^\w\s]+`. */
function forEachWord(text: string, found: (start: number, end: number) => void): void {
  for (let i = 0; i < text.length; ) {
    const first = text.codePointAt(i)!;
    const start = i;
    i += first > 0xffff ? 2 : 1;
    if (whitespace.has(first)) continue;
    const set = wordCharacters.has(first) ? wordCharacters : symbols;
    while (i < text.length) {
      const codePoint = text.codePointAt(i)!;
      if (!set.has(codePoint)) break;
      i += codePoint > 0xffff ? 2 : 1;
    }
    found(start, i);
  }
}

function fixedLength(length: number): PreTokenizer {
  return splitAt((text, found) => {
    let start = 0;
    let count = 0;
    for (let i = 0; i < text.length; ) {
      i += text.codePointAt(i)! > 0xffff ? 2 : 1;
      if (++count % length === 0 || i >= text.length) {
        found(start, i);
        start = i;
      }
    }
  }, "Isolated");
}

/** How a byte-level pipeline cuts a text, where that can be done without making the pieces. */
export interface ByteLevelCut {
  readonly addsPrefixSpace: boolean;
  readonly forEachPiece: (text: string, found: (start: number, end: number) => void) => void;
  /** Set when a scanner knows the pattern. */
  readonly scanner: Scanner | null;
}

/** Recognises ByteLevel, alone or behind one Split whose matches and rests all are pieces; null for everything else. */
export function byteLevelCut(json: unknown, where: string): ByteLevelCut | null {
  if (json === null || json === undefined) return null;
  const object = asObject(json, where);
  if (object.type === "ByteLevel") {
    const addsPrefixSpace = booleanField(object, "add_prefix_space", where, true);
    if (!booleanField(object, "use_regex", where, true)) {
      return {
        addsPrefixSpace,
        scanner: (text) => text.length,
        forEachPiece: (text, found) => text.length > 0 && found(0, text.length),
      };
    }
    return {
      addsPrefixSpace,
      scanner: scanGpt2,
      forEachPiece: (text, found) => forEachScan(scanGpt2, text, found),
    };
  }
  if (object.type !== "Sequence" || !Array.isArray(object.pretokenizers)) return null;
  const [split, bytes, ...others] = object.pretokenizers.map((item, i) =>
    asObject(item, `${where}.pretokenizers[${i}]`),
  );
  if (others.length > 0 || split?.type !== "Split" || bytes?.type !== "ByteLevel") return null;
  if (bytes.use_regex !== false || bytes.add_prefix_space !== false) return null;
  const { pattern, behaviour, invert } = readSplit(split, `${where}.pretokenizers[0]`);
  // With Removed and inverted the matches are all that is left, which for a pattern that tiles the text is the same.
  const isTiling = behaviour === "Isolated" || (behaviour === "Removed" && invert && pattern.scanner !== null);
  if (!isTiling) return null;
  return { addsPrefixSpace: false, scanner: pattern.scanner, forEachPiece: tiles(pattern) };
}

function tiles(pattern: TextPattern): ByteLevelCut["forEachPiece"] {
  return (text, found) => {
    let last = 0;
    pattern.forEachMatch(text, (start, end) => {
      if (start > last) found(last, start);
      if (end > start) found(start, end);
      last = end;
    });
    if (last < text.length) found(last, text.length);
  };
}
