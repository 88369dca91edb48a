import { TokenizerFormatError } from "../errors.ts";
import { asObject, describe } from "../json-fields.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";

/** Text of a file in UTF-8; a byte order mark is left out. Throws TokenizerFormatError where the bytes are no UTF-8. */
export function readText(content: string | Uint8Array, source: string): string {
  if (typeof content === "string") return content.startsWith("\ufeff") ? content.slice(1) : content;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new TokenizerFormatError(`${source} is not text in UTF-8`);
  }
}

/** Parses a file of JSON. Throws TokenizerFormatError, naming the file. */
export function readJson(content: string | Uint8Array, source: string): unknown {
  const text = readText(content, source);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TokenizerFormatError(`${source} is not JSON: ${(error as Error).message}`);
  }
}

/** Parses a `tokenizer.json`; its fields are checked when a tokenizer is made of it. */
export function readTokenizerJson(content: string | Uint8Array, source = "tokenizer.json"): TokenizerJson {
  const json = asObject(readJson(content, source), source);
  if (json.model === undefined || json.model === null)
    throw new TokenizerFormatError(`${source}: model is ${describe(json.model)}; expected the description of a model`);
  return json as unknown as TokenizerJson;
}
