import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import { rankedBpe } from "../models/ranked-merges.ts";
import type { AddedTokenJson, ModelJson, StageJson, TokenizerJson } from "../tokenizer-json.ts";
import { readSentencePieceProto, type SentencePieceModel } from "./sentencepiece-proto.ts";
import { addedToken, template } from "./stage-json.ts";

/** SentencePiece's sign for a space. */
const SPACE = "\u2581";

export interface SentencePieceOptions {
  /** Names the file in messages. */
  readonly source?: string;
  /** Whether texts begin with the model's bos token; by default for BPE with byte fallback (Llama 2, Mistral). */
  readonly addBos?: boolean;
  /** Whether texts end with the model's eos token; by default for Unigram models that have no bos token (T5). */
  readonly addEos?: boolean;
}

/**
 * Reads a SentencePiece `.model` of any type. The pipeline does what SentencePiece's own does; Hugging Face's converters
 * write the same, but for what they add for single architectures (ALBERT's accents, the shifted ids of XLM-R).
 * Throws TokenizerFormatError, naming the file and the field.
 */
export function readSentencePiece(bytes: Uint8Array, options: SentencePieceOptions = {}): TokenizerJson {
  const source = options.source ?? "spiece.model";
  return tokenizerOfPieces(readSentencePieceProto(bytes, source), source, options);
}

/** The pipeline of a model that is read already. */
export function tokenizerOfPieces(
  proto: SentencePieceModel,
  source: string,
  options: SentencePieceOptions,
): TokenizerJson {
  const unkId = unknownPiece(proto, source);
  checkPieces(proto, source);
  if (proto.whitespaceAsSuffix)
    throw new TokenizerFormatError(
      `${source}: trainer_spec.treat_whitespace_as_suffix is true; expected spaces at the start of words`,
    );
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(proto),
    ...textStages(proto),
    post_processor: postProcessor(proto, options),
    decoder: decoder(proto),
    model: modelJson(proto, unkId),
  };
}

function unknownPiece(proto: SentencePieceModel, source: string): number {
  const unknown = proto.pieces.flatMap(({ type }, id) => (type === "unknown" ? [id] : []));
  if (unknown.length === 1) return unknown[0]!;
  if (unknown.length > 1)
    throw new TokenizerFormatError(
      `${source}: pieces[${unknown[0]}] and pieces[${unknown[1]}] are both the unknown piece; expected one`,
    );
  if (proto.unkId >= 0 && proto.unkId < proto.pieces.length) return proto.unkId;
  throw new TokenizerFormatError(
    `${source}: no piece is the unknown one, and trainer_spec.unk_id is ${proto.unkId}; expected an unknown token`,
  );
}

function checkPieces({ pieces }: SentencePieceModel, source: string): void {
  const seen = new Map<string, number>();
  for (let id = 0; id < pieces.length; id++) {
    const { piece } = pieces[id]!;
    const other = seen.get(piece);
    if (piece === "" || other !== undefined)
      throw new TokenizerFormatError(
        `${source}: pieces[${id}] is ${piece === "" ? "empty" : `${describe(piece)}, as is pieces[${other}]`}; expected each piece once`,
      );
    seen.set(piece, id);
  }
}

/**
 * User-defined symbols are cut out of the text before all else. Those of Unigram models that no normalization changes
 * stay with the model instead, as SentencePiece has it: words they begin still get the space before them.
 */
const staysInModel = (model: SentencePieceModel, piece: string): boolean =>
  model.modelType === "unigram" && !/\s/.test(piece) && piece.normalize("NFKC") === piece;

function addedTokens(model: SentencePieceModel): AddedTokenJson[] {
  return model.pieces.flatMap(({ piece, type }, id) => {
    if (type === "control" || type === "unknown") return [addedToken(id, piece)];
    return type === "user" && !staysInModel(model, piece) ? [addedToken(id, piece, { special: false })] : [];
  });
}

/** Normalizer and pre-tokenizer: the model's own map of characters, runs of spaces, and the space before the text. */
function textStages(proto: SentencePieceModel): { normalizer: StageJson | null; pre_tokenizer: StageJson | null } {
  const { addDummyPrefix, removeExtraWhitespaces, charsmap } = proto;
  const normalizers: StageJson[] = [];
  if (charsmap.length > 0) normalizers.push({ type: "Precompiled", precompiled_charsmap: toBase64(charsmap) });
  if (!removeExtraWhitespaces) {
    if (addDummyPrefix) normalizers.push({ type: "Prepend", prepend: SPACE });
    normalizers.push({ type: "Replace", pattern: { String: " " }, content: SPACE });
    return { normalizer: { type: "Sequence", normalizers }, pre_tokenizer: null };
  }
  normalizers.push(
    { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
    { type: "Replace", pattern: { Regex: "\\A | \\z" }, content: "" },
  );
  // Words can be looked at one by one unless some token goes beyond a word.
  const split =
    proto.splitByWhitespace && !proto.pieces.some(({ piece, type }) => type === "normal" && piece.includes(SPACE, 1));
  // Behind a symbol that is cut out of the text the rest of a word gets no space.
  const cutsText = proto.pieces.some(({ piece, type }) => type === "user" && !staysInModel(proto, piece));
  return {
    normalizer: { type: "Sequence", normalizers },
    pre_tokenizer: {
      type: "Metaspace",
      replacement: SPACE,
      prepend_scheme: addDummyPrefix ? (cutsText ? "first" : "always") : "never",
      split,
    },
  };
}

function postProcessor(proto: SentencePieceModel, options: SentencePieceOptions): StageJson | null {
  const control = (id: number) => (proto.pieces[id]?.type === "control" ? proto.pieces[id].piece : undefined);
  const bos = control(proto.bosId);
  const eos = control(proto.eosId);
  const addBos = options.addBos ?? (proto.modelType === "bpe" && proto.byteFallback);
  const addEos = options.addEos ?? (proto.modelType === "unigram" && bos === undefined);
  const before = addBos && bos !== undefined ? [bos] : [];
  const after = addEos && eos !== undefined ? [eos] : [];
  if (before.length + after.length === 0) return null;
  const second = [...before, "$B", ...after].map((item) => (bos === undefined ? item : `${item}:1`));
  const ids = new Map(proto.pieces.map(({ piece }, id) => [piece, id]));
  return template(
    [...before, "$A", ...after].join(" "),
    [...before, "$A", ...after, ...second].join(" "),
    (token) => ids.get(token)!,
  );
}

function decoder({ byteFallback, addDummyPrefix }: SentencePieceModel): StageJson {
  if (!byteFallback)
    return {
      type: "Metaspace",
      replacement: SPACE,
      prepend_scheme: addDummyPrefix ? "always" : "never",
      split: true,
    };
  const decoders: StageJson[] = [
    { type: "Replace", pattern: { String: SPACE }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ];
  if (addDummyPrefix) decoders.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  return { type: "Sequence", decoders };
}

function modelJson(proto: SentencePieceModel, unkId: number): ModelJson {
  const { pieces, modelType, byteFallback } = proto;
  if (modelType === "unigram") {
    // As SentencePiece scores user-defined symbols: by their bytes, so that no other way to spell them is better.
    const best = pieces.reduce((max, { score, type }) => (type === "normal" && score > max ? score : max), -Infinity);
    const symbolScore = (piece: string) =>
      Number.isFinite(best) ? new TextEncoder().encode(piece).length * best - 0.1 : 0;
    return {
      type: "Unigram",
      unk_id: unkId,
      vocab: pieces.map(
        ({ piece, score, type }) =>
          [piece, type === "user" && staysInModel(proto, piece) ? symbolScore(piece) : score] as const,
      ),
      byte_fallback: byteFallback,
    };
  }
  const vocab: Record<string, number> = Object.create(null);
  for (let id = 0; id < pieces.length; id++) vocab[pieces[id]!.piece] = id;
  const unkToken = pieces[unkId]!.piece;
  if (modelType === "word") return { type: "WordLevel", vocab, unk_token: unkToken };
  const model = {
    type: "BPE",
    dropout: null,
    unk_token: unkToken,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: byteFallback,
    ignore_merges: false,
    vocab,
  } as const;
  if (modelType === "char") return { ...model, merges: [] };
  return rankedBpe(model, scoreRanks(pieces), "longest left part first");
}

/** Ranks from scores, the best 0; equal scores have equal ranks. Pieces that no merge makes have -1. */
function scoreRanks(pieces: SentencePieceModel["pieces"]): Int32Array {
  const merging = pieces.flatMap(({ type }, id) => (type === "normal" || type === "unused" ? [id] : []));
  merging.sort((a, b) => pieces[b]!.score - pieces[a]!.score);
  const ranks = new Int32Array(pieces.length).fill(-1);
  let rank = -1;
  let score = Number.NaN;
  for (const id of merging) {
    if (pieces[id]!.score !== score) {
      score = pieces[id]!.score;
      rank++;
    }
    ranks[id] = rank;
  }
  return ranks;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
