import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel, TokenSink } from "../stages.ts";
import type { UnigramJson } from "../tokenizer-json.ts";
import { SymbolList } from "./merge-symbols.ts";
import { PieceCache } from "./piece-cache.ts";
import { TokenTrie } from "./token-trie.ts";
import { byteTokenIds, utf8Bytes } from "./vocabulary.ts";

/** How much worse than the worst token an unknown character is (SentencePiece's kUnkPenalty). */
const UNK_PENALTY = 10;

/**
 * The unigram language model (Kudo 2018): the segmentation of the largest sum of log probabilities, by Viterbi's
 * algorithm over a trie, in time proportional to the length of the text. A character that no token covers costs the
 * smallest score less 10; neighbouring ones are one unknown token, or, with `byte_fallback`, become their bytes.
 * Throws TokenizerFormatError, naming `source` and the field.
 */
export function createUnigram(
  json: UnigramJson,
  source = "tokenizer",
  special: ReadonlySet<string> = new Set(),
): TokenModel {
  const { tokens, scores, unkId } = readUnigram(json, source);
  const ids = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) ids.set(tokens[id]!, id);
  const byteIds = json.byte_fallback ? byteTokenIds(ids) : undefined;
  const isByteToken = new Set(byteIds);
  const trie = new TokenTrie();
  let minScore = Number.POSITIVE_INFINITY;
  for (let id = 0; id < tokens.length; id++) {
    minScore = Math.min(minScore, scores[id]!);
    // Text never becomes a special token or the token of a byte by spelling its name.
    if (!special.has(tokens[id]!) && !isByteToken.has(id) && id !== unkId) trie.add(tokens[id]!, id);
  }
  const unkScore = minScore - UNK_PENALTY;
  const cache = new PieceCache();
  const found = new SymbolList();

  /** Best path to each place of the text, walked back to front into `found`, then emitted. */
  const segment = (text: string, emit: TokenSink): void => {
    const n = text.length;
    const best = n < scratch.size ? scratch.best : new Float64Array(n + 1);
    const from = n < scratch.size ? scratch.from : new Int32Array(n + 1);
    const idOf = n < scratch.size ? scratch.ids : new Int32Array(n + 1);
    from.fill(-1, 0, n + 1);
    best[0] = 0;
    for (let start = 0; start < n; ) {
      const scoreHere = best[start]!;
      const width = text.codePointAt(start)! > 0xffff ? 2 : 1;
      let covered = false;
      let node = 0;
      for (let at = start; at < n; ) {
        node = trie.child(node, text.charCodeAt(at++));
        if (node < 0) break;
        const id = trie.tokenAt(node);
        if (id < 0) continue;
        const score = scoreHere + scores[id]!;
        if (from[at]! < 0 || score > best[at]!) {
          best[at] = score;
          from[at] = start;
          idOf[at] = id;
        }
        if (at - start === width) covered = true;
      }
      if (!covered) {
        const at = start + width;
        const score = scoreHere + unkScore;
        if (from[at]! < 0 || score > best[at]!) {
          best[at] = score;
          from[at] = start;
          idOf[at] = -1;
        }
      }
      start += width;
    }
    found.length = 0;
    for (let end = n; end > 0; end = from[end]!) found.push(idOf[end]!, from[end]!, end);
    emitBackwards(text, emit);
  };

  const emitBackwards = (text: string, emit: TokenSink): void => {
    const { ids: foundIds, starts, ends } = found;
    for (let i = found.length - 1; i >= 0; ) {
      const start = starts[i]!;
      if (foundIds[i]! >= 0) {
        emit(foundIds[i]!, start, ends[i]!);
        i--;
        continue;
      }
      while (i > 0 && foundIds[i - 1]! < 0) i--;
      emitUnknown(text, start, ends[i]!, emit);
      i--;
    }
  };

  const emitUnknown = (text: string, start: number, end: number, emit: TokenSink): void => {
    if (byteIds !== undefined && hasBytes(text, start, end, byteIds)) {
      for (let at = start; at < end; ) {
        const codePoint = text.codePointAt(at)!;
        const next = at + (codePoint > 0xffff ? 2 : 1);
        for (const byte of utf8Bytes(codePoint)) emit(byteIds[byte]!, at, next);
        at = next;
      }
    } else if (unkId !== undefined) emit(unkId, start, end);
    else
      throw new TokenizerFormatError(
        `${source}: model.unk_id is null, but no token covers ${describe(text.slice(start, end))}; expected the index of an unknown token`,
      );
  };

  return {
    kind: "Unigram",
    tokenize(text, emit) {
      if (text === "" || cache.emit(text, emit)) return;
      if (text.length > 64) return segment(text, emit);
      const kept = new SymbolList(true, 16);
      segment(text, (id, start, end) => kept.push(id, start, end));
      cache.add(text, kept.length, kept.ids, kept.starts, kept.ends);
      for (let i = 0; i < kept.length; i++) emit(kept.ids[i]!, kept.starts[i]!, kept.ends[i]!);
    },
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => tokens[id],
    size: tokens.length,
  };
}

const scratch = { size: 4096, best: new Float64Array(4096), from: new Int32Array(4096), ids: new Int32Array(4096) };

function hasBytes(text: string, start: number, end: number, byteIds: Int32Array): boolean {
  for (let at = start; at < end; ) {
    const codePoint = text.codePointAt(at)!;
    if (utf8Bytes(codePoint).some((byte) => byteIds[byte]! < 0)) return false;
    at += codePoint > 0xffff ? 2 : 1;
  }
  return true;
}

function readUnigram(
  json: UnigramJson,
  source: string,
): { tokens: string[]; scores: Float64Array; unkId: number | undefined } {
  const vocab: unknown = json.vocab;
  if (!Array.isArray(vocab) || vocab.length === 0)
    throw new TokenizerFormatError(
      `${source}: model.vocab is ${Array.isArray(vocab) ? "empty" : describe(vocab)}; expected an array of [token, log probability]`,
    );
  const tokens: string[] = [];
  const scores = new Float64Array(vocab.length);
  for (let id = 0; id < vocab.length; id++) {
    const entry: unknown = vocab[id];
    const [token, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof token !== "string" || typeof score !== "number" || !Number.isFinite(score))
      throw new TokenizerFormatError(
        `${source}: model.vocab[${id}] is ${describe(entry)}; expected [token, log probability]`,
      );
    tokens.push(token);
    scores[id] = score;
  }
  const unkId: unknown = json.unk_id ?? undefined;
  if (
    unkId !== undefined &&
    !(typeof unkId === "number" && Number.isInteger(unkId) && unkId >= 0 && unkId < vocab.length)
  )
    throw new TokenizerFormatError(
      `${source}: model.unk_id is ${describe(unkId)}; expected an index of model.vocab (0 to ${vocab.length - 1}) or null`,
    );
  if (json.byte_fallback !== undefined && typeof json.byte_fallback !== "boolean")
    throw new TokenizerFormatError(
      `${source}: model.byte_fallback is ${describe(json.byte_fallback)}; expected true or false`,
    );
  return { tokens, scores, unkId: unkId as number | undefined };
}
