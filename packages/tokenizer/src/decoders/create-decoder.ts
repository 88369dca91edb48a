import { asObject, booleanField, fail, sequenceStages, stringField, wholeField } from "../json-fields.ts";
import { byteOfCharacter } from "../models/byte-alphabet.ts";
import type { Decoder } from "../stages.ts";
import { readPattern } from "../text-pattern.ts";

/** The decoder that a tokenizer.json describes. `where` names the file and the field. */
export function createDecoder(json: unknown, where: string): Decoder {
  const object = asObject(json, where);
  const type = stringField(object, "type", where);
  switch (type) {
    case "Sequence": {
      const stages = sequenceStages(object, "decoders", where, createDecoder);
      return (tokens) => stages.reduce((current, stage) => stage(current), [...tokens]);
    }
    case "ByteLevel":
      return byteLevelDecoder;
    case "WordPiece":
      return wordPieceDecoder(stringField(object, "prefix", where, "##"), booleanField(object, "cleanup", where, true));
    case "Metaspace": {
      const replacement = stringField(object, "replacement", where, "▁");
      const old = booleanField(object, "add_prefix_space", where, true) ? "always" : "never";
      const strips = stringField(object, "prepend_scheme", where, old) !== "never";
      // The replacement in the first token was put there by the encoder.
      return (tokens) => tokens.map((token, i) => token.replaceAll(replacement, i === 0 && strips ? "" : " "));
    }
    case "BPEDecoder": {
      const suffix = stringField(object, "suffix", where, "</w>");
      return (tokens) => tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? "" : " "));
    }
    case "ByteFallback":
      return byteFallbackDecoder;
    case "Fuse":
      return (tokens) => [tokens.join("")];
    case "Strip":
      return stripDecoder(
        stringField(object, "content", where),
        wholeField(object, "start", where),
        wholeField(object, "stop", where),
      );
    case "Replace": {
      const pattern = readPattern(object.pattern, `${where}.pattern`);
      const content = stringField(object, "content", where);
      return (tokens) =>
        tokens.map((token) => {
          let text = "";
          let last = 0;
          pattern.forEachMatch(token, (start, end) => {
            text += token.slice(last, start) + content;
            last = end;
          });
          return text + token.slice(last);
        });
    }
    case "CTC":
      return ctcDecoder(
        stringField(object, "pad_token", where, "<pad>"),
        stringField(object, "word_delimiter_token", where, "|"),
        booleanField(object, "cleanup", where, true),
      );
    default:
      return fail(where, "type", type, "a decoder (such as ByteLevel, WordPiece, Metaspace, Sequence)");
  }
}

const encoder = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** The bytes of a token in GPT-2's byte-level alphabet; of a token with other letters, its own UTF-8. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter(token.charCodeAt(i));
    if (byte < 0) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

export const byteLevelDecoder: Decoder = (tokens) => {
  const parts = tokens.map(byteLevelBytes);
  const bytes = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return [utf8.decode(bytes)];
};

function cleanUp(text: string): string {
  return text
    .replaceAll(" .", ".")
    .replaceAll(" ?", "?")
    .replaceAll(" !", "!")
    .replaceAll(" ,", ",")
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" do not", " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
}

function wordPieceDecoder(prefix: string, cleansUp: boolean): Decoder {
  return (tokens) =>
    tokens.map((token, i) => {
      let text = token;
      if (i > 0) text = prefix !== "" && token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      return cleansUp ? cleanUp(text) : text;
    });
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Tokens such as <0xE5> become their bytes: valid runs their text, others one U+FFFD for each byte. */
const byteFallbackDecoder: Decoder = (tokens) => {
  const out: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length === 0) return;
    try {
      out.push(strictUtf8.decode(Uint8Array.from(run)));
    } catch {
      for (let i = 0; i < run.length; i++) out.push("\ufffd");
    }
    run = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (byte !== null) run.push(Number.parseInt(byte[1]!, 16));
    else {
      flush();
      out.push(token);
    }
  }
  flush();
  return out;
};

function stripDecoder(content: string, start: number, stop: number): Decoder {
  return (tokens) =>
    tokens.map((token) => {
      const letters = [...token];
      let from = 0;
      while (from < start && letters[from] === content) from++;
      let to = letters.length;
      for (let i = 0; i < stop && to > from && letters[to - 1] === content; i++) to--;
      return letters.slice(from, to).join("");
    });
}

function ctcDecoder(pad: string, delimiter: string, cleansUp: boolean): Decoder {
  return (tokens) =>
    tokens.flatMap((token, i) => {
      if (token === tokens[i - 1]) return [];
      const letters = pad === "" ? token : token.replaceAll(pad, "");
      const text = cleansUp ? cleanUp(letters).replaceAll(delimiter, " ") : letters;
      return text === "" ? [] : [text];
    });
}
