import type { AddedToken } from "./added-tokens.ts";
import { AddedTokenMatcher } from "./added-tokens.ts";
import type { AlignedText } from "./aligned-text.ts";
import { alignedText, originalEnd, originalStart, pushOriginalRange, sliceAligned } from "./aligned-text.ts";
import type { TextRun } from "./encoding.ts";
import type { ByteLevelBpe } from "./models/byte-level-bpe.ts";
import { IdBuffer } from "./models/id-buffer.ts";
import type { ByteLevelCut } from "./pre-tokenizers/create-pre-tokenizer.ts";
import type { Normalizer, PostProcessor, PreTokenizer, TokenModel } from "./stages.ts";
import { wellFormed } from "./utf8.ts";

/** Which special tokens in a text become their ids: all, none, or those that are named. */
export type AllowedSpecial = "all" | "none" | readonly string[];

/** The stages from a text to the ids of its tokens. */
export interface PipelineStages {
  readonly normalizer: Normalizer | null;
  readonly preTokenizer: PreTokenizer | null;
  readonly model: TokenModel;
  readonly postProcessor: PostProcessor;
  readonly addedTokens: readonly AddedToken[];
  /** Set for byte-level pipelines that need no pieces of text. */
  readonly fast: FastStages | null;
}

export interface FastStages {
  readonly normalize: ((text: string) => string) | null;
  readonly cut: ByteLevelCut;
  readonly bpe: ByteLevelBpe;
}

interface Matchers {
  readonly original: AddedTokenMatcher;
  readonly normalized: AddedTokenMatcher;
}

/** Turns texts into runs of tokens. */
export class Pipeline {
  readonly #stages: PipelineStages;
  readonly #matchers = new Map<string, Matchers>();

  constructor(stages: PipelineStages) {
    this.#stages = stages;
  }

  /** The tokens of a text. Offsets are worked out when they are asked for where that is faster. */
  run(input: string, allowedSpecial: AllowedSpecial): TextRun {
    const text = wellFormed(input);
    const matchers = this.#matchersFor(allowedSpecial);
    const { fast } = this.#stages;
    if (fast === null) return this.#runWithSpans(text, matchers);
    const ids = encodeFast(text, matchers, fast);
    let spans: Int32Array | null = null;
    return {
      ids,
      spans: () => {
        spans ??= fastSpans(text, ids, matchers, this.#stages) ?? this.#runWithSpans(text, matchers).spans();
        return spans;
      },
    };
  }

  /** The tokens of a text with all its special tokens, but for those that cover a unit where `plain` is not 0. */
  runGuarded(input: string, plain: Uint8Array): TextRun {
    return this.#runWithSpans(wellFormed(input), this.#matchersFor("all"), plain);
  }

  #runWithSpans(text: string, matchers: Matchers, plain: Uint8Array | null = null): TextRun {
    const { normalizer, preTokenizer, model, postProcessor } = this.#stages;
    const ids = new IdBuffer();
    const spans: number[] = [];
    const adjust = postProcessor.adjustOffsets;
    const adjustLast = (token: string | undefined): void => {
      if (adjust === undefined || token === undefined) return;
      const end = spans.pop()!;
      const start = spans.pop()!;
      spans.push(...adjust(token, ids.length - 1, [start, end]));
    };
    const whole = alignedText(text);
    const encodePart = (part: AlignedText): void => {
      const normalized = normalizer === null ? part : normalizer(part);
      const encodePiece = (from: number, to: number, found: AddedToken | null): void => {
        if (found !== null) {
          ids.push(found.id);
          pushOriginalRange(normalized, from, to, spans);
          adjustLast(normalized.text.slice(from, to));
          return;
        }
        const piece = sliceAligned(normalized, from, to);
        for (const cut of preTokenizer === null ? [piece] : preTokenizer(piece)) {
          model.tokenize(cut.text, (id, tokenStart, tokenEnd) => {
            ids.push(id);
            pushOriginalRange(cut, tokenStart, tokenEnd, spans);
            if (adjust !== undefined) adjustLast(model.idToToken(id));
          });
        }
      };
      matchers.normalized.split(
        normalized.text,
        encodePiece,
        plain === null ? undefined : plainUnits(normalized, plain),
      );
    };
    const encodeOriginal = (start: number, end: number, token: AddedToken | null): void => {
      if (token === null) {
        encodePart(sliceAligned(whole, start, end));
        return;
      }
      ids.push(token.id);
      spans.push(start, end);
      adjustLast(text.slice(start, end));
    };
    matchers.original.split(text, encodeOriginal, plain === null ? undefined : plainUnits(whole, plain));
    const packed = Int32Array.from(spans);
    return { ids: ids.toArray(), spans: () => packed };
  }

  #matchersFor(allowed: AllowedSpecial): Matchers {
    const key = typeof allowed === "string" ? allowed : JSON.stringify([...allowed].sort());
    let matchers = this.#matchers.get(key);
    if (matchers === undefined) {
      const { addedTokens, normalizer } = this.#stages;
      const found = addedTokens.filter(({ special, content }) => {
        if (!special || allowed === "all") return true;
        return allowed !== "none" && allowed.includes(content);
      });
      matchers = {
        original: new AddedTokenMatcher(found.filter(({ normalized }) => !normalized)),
        normalized: new AddedTokenMatcher(
          found.filter(({ normalized }) => normalized),
          normalizer,
        ),
      };
      // A caller that makes up a new list for each text must not fill the memory.
      if (this.#matchers.size >= 32) this.#matchers.clear();
      this.#matchers.set(key, matchers);
    }
    return matchers;
  }
}

/** Whether a unit stands for one of the original text where `plain` is not 0. */
function plainUnits(source: AlignedText, plain: Uint8Array): (index: number) => boolean {
  return (index) => {
    const end = originalEnd(source, index);
    for (let i = originalStart(source, index); i < end; i++) if (plain[i] !== 0) return true;
    return false;
  };
}

function encodeFast(text: string, matchers: Matchers, { normalize, cut, bpe }: FastStages): Int32Array {
  const ids = new IdBuffer(16 + (text.length >> 2));
  const encodePart = (part: string): void => {
    const piece = cut.addsPrefixSpace && !part.startsWith(" ") ? ` ${part}` : part;
    const { scanner } = cut;
    if (scanner === null) {
      cut.forEachPiece(piece, (start, end) => bpe.encodeUtf16(piece, start, end, ids));
      return;
    }
    const { length } = piece;
    for (let i = 0; i < length; ) {
      const end = scanner(piece, i);
      bpe.encodeUtf16(piece, i, end, ids);
      i = end;
    }
  };
  const encodeOriginal = (part: string): void => {
    const normalized = normalize === null ? part : normalize(part);
    if (matchers.normalized.isEmpty) {
      if (normalized !== "") encodePart(normalized);
      return;
    }
    matchers.normalized.split(normalized, (start, end, token) => {
      if (token === null) encodePart(normalized.slice(start, end));
      else ids.push(token.id);
    });
  };
  if (matchers.original.isEmpty) encodeOriginal(text);
  else {
    matchers.original.split(text, (start, end, token) => {
      if (token === null) encodeOriginal(text.slice(start, end));
      else ids.push(token.id);
    });
  }
  return ids.toArray();
}

/**
 * Offsets of the tokens that `encodeFast` found, from the lengths of the tokens alone: in the byte-level alphabet a token
 * has as many letters as it has bytes. A token of part of a character stands for the whole. Null where normalization
 * changed the text.
 */
function fastSpans(text: string, ids: Int32Array, matchers: Matchers, stages: PipelineStages): Int32Array | null {
  const { model, postProcessor } = stages;
  const { normalize, cut } = stages.fast!;
  const adjust = postProcessor.adjustOffsets;
  const spans = new Int32Array(2 * ids.length);
  let count = 0;
  let isKnown = true;
  const put = (token: string, start: number, end: number): void => {
    const [from, to] = adjust === undefined ? [start, end] : adjust(token, count, [start, end]);
    spans[2 * count] = from;
    spans[2 * count + 1] = to;
    count++;
  };
  const walk = (from: number, to: number): void => {
    let i = from;
    // Bytes of the character at i that earlier tokens took.
    let taken = 0;
    let prefix = cut.addsPrefixSpace && text.charCodeAt(from) !== 0x20 ? 1 : 0;
    while (i < to && count < ids.length) {
      const token = model.idToToken(ids[count]!)!;
      const start = i;
      taken += token.length - prefix;
      prefix = 0;
      for (;;) {
        const bytes = utf8Size(text, i);
        if (taken < bytes || i >= to) break;
        taken -= bytes;
        i += bytes === 4 ? 2 : 1;
      }
      const isWhole = taken === 0 && i > start;
      put(token, start, isWhole ? i : i + (utf8Size(text, i) === 4 ? 2 : 1));
    }
  };
  matchers.original.split(text, (start, end, token) => {
    if (token !== null) return put(text.slice(start, end), start, end);
    if (normalize !== null) {
      const part = text.slice(start, end);
      if (normalize(part) !== part) isKnown = false;
    }
    if (!isKnown) return;
    if (matchers.normalized.isEmpty) return walk(start, end);
    matchers.normalized.split(text.slice(start, end), (from, to, found) => {
      if (found === null) walk(start + from, start + to);
      else put(text.slice(start + from, start + to), start + from, start + to);
    });
  });
  return isKnown && count === ids.length ? spans : null;
}

function utf8Size(text: string, index: number): number {
  const unit = text.charCodeAt(index);
  if (unit < 0x80) return 1;
  if (unit < 0x800) return 2;
  return (unit & 0xfc00) === 0xd800 ? 4 : 3;
}
