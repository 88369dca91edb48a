import { bitsAt, letter, lower, newline, number, runEnd, runEndWithout, space, upper } from "./character-classes.ts";
import {
  cl100kPattern,
  cl100kTiktokenPattern,
  gpt2Pattern,
  o200kPattern,
  qwen2Pattern,
  r50kTiktokenPattern,
} from "./split-patterns.ts";

/**
 * A hand-written form of a split pattern: the end of the match that starts at `index`. The patterns match at every
 * place, so their matches tile the text.
 */
export type Scanner = (text: string, index: number) => number;

/** The scanner of a known pattern, or null. */
export function scannerFor(pattern: string): Scanner | null {
  return scanners.get(pattern) ?? null;
}

/** GPT-2's pattern. */
export const scanGpt2: Scanner = (text, index) => {
  const unit = text.charCodeAt(index);
  if (unit === 0x27) {
    const end = contractionEnd(text, index, false);
    if (end > 0) return end;
  }
  let bits = bitsAt(text, index);
  let start = index;
  if (unit === 0x20 && index + 1 < text.length) {
    const next = bitsAt(text, index + 1);
    if ((next & space) === 0) {
      bits = next;
      start++;
    }
  }
  if ((bits & letter) !== 0) return runEnd(text, start, letter);
  if ((bits & space) !== 0) return whitespaceEnd(text, index, false, false);
  if ((bits & number) !== 0) return runEnd(text, start, number);
  return runEndWithout(text, start, letter | number | space);
};

/** The pattern of cl100k and Llama 3 (3 digits) and of Qwen 2 (1 digit). */
function cl100kScanner(digits: number, keepsEnd: boolean): Scanner {
  return (text, index) => {
    const unit = text.charCodeAt(index);
    if (unit === 0x27) {
      const end = contractionEnd(text, index, true);
      if (end > 0) return end;
    }
    const bits = bitsAt(text, index);
    if ((bits & letter) !== 0) return runEnd(text, index, letter);
    if ((bits & number) !== 0) return numberEnd(text, index, digits);
    if ((bits & newline) === 0) {
      const next = after(text, index);
      if (next < text.length && (bitsAt(text, next) & letter) !== 0) return runEnd(text, next, letter);
    }
    return punctuationOrSpaceEnd(text, index, bits, false, keepsEnd);
  };
}

export const scanCl100k: Scanner = cl100kScanner(3, false);
export const scanCl100kTiktoken: Scanner = cl100kScanner(3, true);
export const scanQwen2: Scanner = cl100kScanner(1, false);

/** o200k's pattern (GPT-4o). */
export const scanO200k: Scanner = (text, index) => {
  const bits = bitsAt(text, index);
  if ((bits & (letter | number | newline)) === 0) {
    // One character of another kind may lead a word. It may itself be a mark, which words are made of.
    const next = after(text, index);
    let end = next < text.length ? lowerWordEnd(text, next) : -1;
    if (end < 0 && (bits & lower) !== 0) end = lowerWordEnd(text, index);
    if (end < 0 && next < text.length && (bitsAt(text, next) & upper) !== 0) end = upperWordEnd(text, next);
    if (end < 0 && (bits & upper) !== 0) end = upperWordEnd(text, index);
    if (end >= 0) return withContraction(text, end);
  } else if ((bits & letter) !== 0) {
    const end = lowerWordEnd(text, index);
    return withContraction(text, end >= 0 ? end : upperWordEnd(text, index));
  } else if ((bits & number) !== 0) return numberEnd(text, index, 3);
  return punctuationOrSpaceEnd(text, index, bits, true, false);
};

const scanners = new Map<string, Scanner>([
  [gpt2Pattern, scanGpt2],
  [r50kTiktokenPattern, scanGpt2],
  [cl100kTiktokenPattern, scanCl100kTiktoken],
  [cl100kPattern, scanCl100k],
  [qwen2Pattern, scanQwen2],
  [o200kPattern, scanO200k],
]);

/** `upper* lower+`: the end, or -1. */
function lowerWordEnd(text: string, index: number): number {
  const end = runEnd(text, index, upper);
  if (end < text.length && (bitsAt(text, end) & lower) !== 0) return runEnd(text, end, lower);
  // Gives characters back until one of them can be the lower-case part.
  for (let i = end; i > index; ) {
    const previous = before(text, i);
    if ((bitsAt(text, previous) & lower) !== 0) return i;
    i = previous;
  }
  return -1;
}

/** `upper+ lower*` where there is an upper. */
function upperWordEnd(text: string, index: number): number {
  return runEnd(text, runEnd(text, index, upper), lower);
}

function withContraction(text: string, end: number): number {
  if (text.charCodeAt(end) !== 0x27) return end;
  const further = contractionEnd(text, end, true);
  return further > 0 ? further : end;
}

/** The end of 's 't 're 've 'm 'll 'd at an apostrophe, or -1. */
function contractionEnd(text: string, index: number, anyCase: boolean): number {
  let first = text.charCodeAt(index + 1);
  if (anyCase) {
    if (first >= 0x41 && first <= 0x5a) first += 0x20;
    // The long s folds to s.
    else if (first === 0x17f) first = 0x73;
  }
  switch (first) {
    case 0x73: // s
    case 0x74: // t
    case 0x6d: // m
    case 0x64: // d
      return index + 2;
    case 0x72: // r
    case 0x76: // v
    case 0x6c: {
      let second = text.charCodeAt(index + 2);
      if (anyCase && second >= 0x41 && second <= 0x5a) second += 0x20;
      return second === (first === 0x6c ? 0x6c : 0x65) ? index + 3 : -1;
    }
    default:
      return -1;
  }
}

function numberEnd(text: string, index: number, most: number): number {
  let end = index;
  for (let count = 0; count < most && end < text.length && (bitsAt(text, end) & number) !== 0; count++) {
    end = after(text, end);
  }
  return end;
}

function punctuationOrSpaceEnd(text: string, index: number, bits: number, slash: boolean, keepsEnd: boolean): number {
  let start = index;
  if ((bits & space) !== 0) {
    const next = index + 1;
    if (text.charCodeAt(index) !== 0x20 || next >= text.length) return whitespaceEnd(text, index, true, keepsEnd);
    if ((bitsAt(text, next) & (letter | number | space)) !== 0) return whitespaceEnd(text, index, true, keepsEnd);
    start = next;
  }
  let end = runEndWithout(text, start, letter | number | space);
  for (; end < text.length; end++) {
    const unit = text.charCodeAt(end);
    if (unit !== 0x0a && unit !== 0x0d && !(slash && unit === 0x2f)) break;
  }
  return end;
}

/** `\s+(?!\S)|\s+`, with `\s*[\r\n]+` before it when it stops at newlines, and `\s+$` before that when it keeps the end. */
function whitespaceEnd(text: string, index: number, stopsAtNewline: boolean, keepsEnd: boolean): number {
  const end = runEnd(text, index, space);
  if (keepsEnd && end === text.length) return end;
  if (stopsAtNewline) {
    for (let i = end - 1; i >= index; i--) {
      const unit = text.charCodeAt(i);
      if (unit === 0x0a || unit === 0x0d) return i + 1;
    }
  }
  return end === text.length || end === index + 1 ? end : end - 1;
}

function after(text: string, index: number): number {
  return index + ((text.charCodeAt(index) & 0xfc00) === 0xd800 && text.codePointAt(index)! > 0xffff ? 2 : 1);
}

function before(text: string, index: number): number {
  return index >= 2 && text.codePointAt(index - 2)! > 0xffff ? index - 2 : index - 1;
}
