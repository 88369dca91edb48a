import { PbfReader } from "pbf";
import { TokenizerFormatError } from "../errors.ts";

// The part of sentencepiece_model.proto that encoding needs. Field numbers and defaults are those of
// https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.

export type PieceType = "normal" | "unknown" | "control" | "user" | "unused" | "byte";

export interface SentencePieceModel {
  readonly pieces: { readonly piece: string; readonly score: number; readonly type: PieceType }[];
  modelType: "unigram" | "bpe" | "word" | "char";
  splitByWhitespace: boolean;
  whitespaceAsSuffix: boolean;
  byteFallback: boolean;
  unkId: number;
  bosId: number;
  eosId: number;
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
}

const PIECE_TYPES: readonly (PieceType | undefined)[] = [
  undefined,
  "normal",
  "unknown",
  "control",
  "user",
  "unused",
  "byte",
];
const MODEL_TYPES = [undefined, "unigram", "bpe", "word", "char"] as const;
const LENGTH_DELIMITED = 2;

/** Parses the bytes of a SentencePiece `.model`. Throws TokenizerFormatError, naming the file and the field. */
export function readSentencePieceProto(bytes: Uint8Array, source: string): SentencePieceModel {
  const model: SentencePieceModel = {
    pieces: [],
    modelType: "unigram",
    splitByWhitespace: true,
    whitespaceAsSuffix: false,
    byteFallback: false,
    unkId: 0,
    bosId: 1,
    eosId: 2,
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
  };
  const fail = (what: string): never => {
    throw new TokenizerFormatError(`${source} is not a whole SentencePiece model: ${what}`);
  };
  const reader = new PbfReader(bytes);
  /** Calls `read` for each field of the message that ends at `end`; pbf itself does not look where fields end. */
  const fields = (end: number, path: string, read: (tag: number, path: string) => boolean): void => {
    while (reader.pos < end) {
      const head = reader.readVarint();
      const tag = head >>> 3;
      reader.type = head & 7;
      const where = `${path}field ${tag}`;
      if (tag === 0) fail(`${path}has a field 0`);
      if (reader.type === LENGTH_DELIMITED) {
        const start = reader.pos;
        const length = reader.readVarint();
        if (!(length >= 0) || reader.pos + length > end) fail(`${where} goes beyond the end`);
        reader.pos = start;
      }
      if (!read(tag, path)) {
        try {
          reader.skip(reader.type);
        } catch {
          fail(`${where} has wire type ${reader.type}`);
        }
      }
      if (reader.pos > end) fail(`${where} goes beyond the end`);
    }
  };
  const message = (path: string, read: (tag: number, path: string) => boolean): true => {
    if (reader.type !== LENGTH_DELIMITED) fail(`${path}is no message`);
    const length = reader.readVarint();
    fields(reader.pos + length, path, read);
    return true;
  };
  const number = (): number => (reader.type === 0 ? reader.readVarint(true) : fail("a number has another wire type"));
  const flag = (): boolean => number() !== 0;
  const data = (): Uint8Array => (reader.type === 2 ? reader.readBytes() : fail("bytes have another wire type"));

  const readPiece = (): true => {
    let piece = "";
    let score = 0;
    let type = 1;
    message(`pieces[${model.pieces.length}]: `, (tag, path) => {
      if (tag === 1) {
        try {
          piece = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data());
        } catch {
          fail(`${path}piece is not UTF-8`);
        }
      } else if (tag === 2) score = reader.type === 5 ? reader.readFloat() : fail(`${path}score is no float`);
      else if (tag === 3) type = number();
      else return false;
      return true;
    });
    const kind = PIECE_TYPES[type] ?? fail(`pieces[${model.pieces.length}].type is ${type}; expected 1 to 6`);
    if (!Number.isFinite(score)) fail(`pieces[${model.pieces.length}].score is ${score}`);
    model.pieces.push({ piece, score, type: kind });
    return true;
  };
  const readTrainer = (tag: number): boolean => {
    if (tag === 3) {
      const type = number();
      model.modelType = MODEL_TYPES[type] ?? fail(`trainer_spec.model_type is ${type}; expected 1 to 4`);
    } else if (tag === 22) model.splitByWhitespace = flag();
    else if (tag === 24) model.whitespaceAsSuffix = flag();
    else if (tag === 35) model.byteFallback = flag();
    else if (tag === 40) model.unkId = number();
    else if (tag === 41) model.bosId = number();
    else if (tag === 42) model.eosId = number();
    else return false;
    return true;
  };
  const readNormalizer = (tag: number): boolean => {
    if (tag === 2) model.charsmap = data();
    else if (tag === 3) model.addDummyPrefix = flag();
    else if (tag === 4) model.removeExtraWhitespaces = flag();
    else return false;
    return true;
  };
  try {
    fields(bytes.length, "", (tag) => {
      if (tag === 1) return readPiece();
      if (tag === 2) return message("trainer_spec: ", readTrainer);
      if (tag === 3) return message("normalizer_spec: ", readNormalizer);
      return false;
    });
  } catch (error) {
    if (error instanceof TokenizerFormatError) throw error;
    fail((error as Error).message); // pbf's own, as for a varint of more than ten bytes
  }
  if (model.pieces.length === 0) fail("it has no pieces");
  return model;
}
