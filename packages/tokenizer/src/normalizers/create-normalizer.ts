import { TokenizerFormatError } from "../errors.ts";
import { asObject, booleanField, fail, sequenceStages, stringField } from "../json-fields.ts";
import type { Normalizer } from "../stages.ts";
import { readPattern } from "../text-pattern.ts";
import {
  bertNormalizer,
  byteLevelLetters,
  lowercase,
  nmt,
  prependText,
  replaceMatches,
  stripAccents,
  stripWhitespace,
} from "./character-normalizers.ts";
import { precompiledNormalizer } from "./precompiled.ts";
import { unicodeForm } from "./unicode-forms.ts";

/** The normalizer that a tokenizer.json describes. `where` names the file and the field. */
export function createNormalizer(json: unknown, where: string): Normalizer {
  const object = asObject(json, where);
  const type = stringField(object, "type", where);
  switch (type) {
    case "Sequence": {
      const stages = sequenceStages(object, "normalizers", where, createNormalizer);
      return (text) => stages.reduce((current, stage) => stage(current), text);
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return unicodeForm(type);
    case "Lowercase":
      return lowercase;
    case "Strip":
      return stripWhitespace(
        booleanField(object, "strip_left", where, true),
        booleanField(object, "strip_right", where, true),
      );
    case "StripAccents":
      return stripAccents;
    case "BertNormalizer": {
      const lower = booleanField(object, "lowercase", where, true);
      return bertNormalizer({
        cleanText: booleanField(object, "clean_text", where, true),
        handleChineseChars: booleanField(object, "handle_chinese_chars", where, true),
        stripAccents: booleanField(object, "strip_accents", where, lower),
        lowercase: lower,
      });
    }
    case "Replace":
      return replaceMatches(readPattern(object.pattern, `${where}.pattern`), stringField(object, "content", where));
    case "Prepend": {
      const prefix = stringField(object, "prepend", where);
      return (text) => prependText(text, prefix);
    }
    case "Precompiled": {
      const field = `${where}.precompiled_charsmap`;
      const base64 = object.precompiled_charsmap;
      if (base64 === null) return (text) => text;
      return precompiledNormalizer(decodeBase64(stringField(object, "precompiled_charsmap", where), field), field);
    }
    case "Nmt":
      return nmt;
    case "ByteLevel":
      return byteLevelLetters;
    default:
      return fail(where, "type", type, "a normalizer (such as NFC, Lowercase, Replace, Sequence)");
  }
}

function decodeBase64(base64: string, where: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(base64);
  } catch {
    throw new TokenizerFormatError(`${where} is not base64`);
  }
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}
