import { TokenizerFormatError } from "../errors.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";
import { type SentencePieceOptions, tokenizerOfPieces } from "./sentencepiece.ts";
import type { PieceType, SentencePieceModel } from "./sentencepiece-proto.ts";

const FIRST_BYTE = 3;

/**
 * Reads the tokenizer.bin of llama2.c: the pieces of a SentencePiece model with their scores, byte by byte with fallback,
 * in the order of Llama's: <unk>, <s>, </s>, the 256 bytes, and the rest. Encodes as llama2.c does, which puts a space
 * before the text. Throws TokenizerFormatError, naming the file and the token.
 */
export function readLlama2cTokenizer(bytes: Uint8Array, options: SentencePieceOptions = {}): TokenizerJson {
  const source = options.source ?? "tokenizer.bin";
  const fail = (what: string): never => {
    throw new TokenizerFormatError(`${source} is no whole tokenizer.bin of llama2.c: ${what}`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4) fail(`it holds ${bytes.length} bytes; expected the length of the longest token`);
  const longest = view.getUint32(0, true);
  const pieces: SentencePieceModel["pieces"] = [];
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let at = 4; at < bytes.length; ) {
    const id = pieces.length;
    if (bytes.length - at < 8) fail(`token ${id} ends in its header`);
    const score = view.getFloat32(at, true);
    const length = view.getUint32(at + 4, true);
    at += 8;
    if (length > longest) fail(`token ${id} has ${length} bytes; expected at most ${longest}`);
    if (length > bytes.length - at) fail(`token ${id} has ${length} bytes, of which ${bytes.length - at} are there`);
    if (!Number.isFinite(score)) fail(`token ${id} has the score ${score}`);
    let text = "";
    try {
      text = decoder.decode(bytes.subarray(at, at + length));
    } catch {
      fail(`token ${id} is no UTF-8`);
    }
    at += length;
    pieces.push({ score, ...pieceOf(text, id, fail) });
  }
  if (pieces.length < FIRST_BYTE + 256) {
    fail(`it holds ${pieces.length} tokens; expected <unk>, <s>, </s>, 256 bytes and others`);
  }
  const model: SentencePieceModel = {
    pieces,
    modelType: "bpe",
    splitByWhitespace: true,
    whitespaceAsSuffix: false,
    byteFallback: true,
    unkId: 0,
    bosId: 1,
    eosId: 2,
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: false,
  };
  return tokenizerOfPieces(model, source, options);
}

/** A piece as SentencePiece has it; the file shows spaces as such and marks of beginning and end on lines of their own. */
function pieceOf(text: string, id: number, fail: (what: string) => never): { piece: string; type: PieceType } {
  if (id === 0) return { piece: text === "" ? "<unk>" : text, type: "unknown" };
  if (id < FIRST_BYTE) return { piece: text.trim(), type: "control" };
  const byte = id - FIRST_BYTE;
  if (byte < 256) {
    const piece = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    // Older files have the character of the byte in its place.
    if (text !== piece && text !== String.fromCharCode(byte))
      fail(`token ${id} is ${JSON.stringify(text)}; expected ${piece}`);
    return { piece, type: "byte" };
  }
  return { piece: text.replaceAll(" ", "\u2581"), type: "normal" };
}
