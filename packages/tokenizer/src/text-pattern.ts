import { TokenizerFormatError } from "./errors.ts";
import { asObject, describe, fail } from "./json-fields.ts";
import type { Scanner } from "./pre-tokenizers/scanners/scanners.ts";
import { scannerFor } from "./pre-tokenizers/scanners/scanners.ts";
import { BoundedRegex } from "./regex/bounded-regex.ts";

/** What the fields `pattern` of tokenizer.json hold: a string to be found as it is, or a regular expression. */
export interface TextPattern {
  /** Calls `found` with each match [start, end) from left to right. */
  forEachMatch(text: string, found: (start: number, end: number) => void): void;
  /** Set for patterns that a scanner knows; their matches tile the text. */
  readonly scanner: Scanner | null;
}

/** Reads `{ "String": "..." }`, `{ "Regex": "..." }` or a plain string. */
export function readPattern(json: unknown, where: string): TextPattern {
  if (typeof json === "string") return literalPattern(json);
  const object = asObject(json, where);
  if (typeof object.String === "string") return literalPattern(object.String);
  if (typeof object.Regex === "string") return regexPattern(object.Regex, `${where}.Regex`);
  return fail(where, "", json, 'a string, { "String": ... } or { "Regex": ... }');
}

export function literalPattern(literal: string): TextPattern {
  return {
    scanner: null,
    forEachMatch(text, found) {
      if (literal === "") return;
      for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) {
        found(at, at + literal.length);
      }
    },
  };
}

export function regexPattern(source: string, where: string): TextPattern {
  const scanner = scannerFor(source);
  if (scanner !== null) {
    return {
      scanner,
      forEachMatch(text, found) {
        for (let i = 0; i < text.length; ) {
          const end = scanner(text, i);
          found(i, end);
          i = end;
        }
      },
    };
  }
  let regex: BoundedRegex;
  try {
    regex = new BoundedRegex(source);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new TokenizerFormatError(`${where} is ${describe(source)}, which cannot be used: the pattern ${why}`);
  }
  return {
    scanner: null,
    forEachMatch(text, found) {
      try {
        regex.forEachMatch(text, found);
      } catch (error) {
        throw new TokenizerFormatError(`${where}: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
  };
}
