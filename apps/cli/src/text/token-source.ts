import type { BatchStream, Rng } from "@genai/core";
import { textWindows } from "@genai/datasets";
import type { Tokenizer } from "@genai/tokenizer";
import {
  holdsSeveral,
  type PackedRows,
  packDocuments,
  packedBatches,
  packStream,
  type TokenBatch,
} from "@genai/transformer";
import { UsageError } from "../exit-code.ts";
import { countCharacters, type TextCorpus } from "./text-corpus.ts";
import { encodeText } from "./text-vocabulary.ts";

/** Where the training of a language model gets its tokens. */
export interface TokenSource {
  /** What the data is, for the report. */
  readonly summary: string;
  /** Tokens of a row: at most the model's context. */
  readonly length: number;
  /** Endless batches, to train on or to estimate a loss with. */
  batches(
    split: "train" | "validation",
    options: { readonly batchSize: number; readonly rng: Rng },
  ): BatchStream<TokenBatch>;
  /** Every token of the validation part once. */
  validationRows(): PackedRows;
  /** Characters that a token of the validation part stands for; there where bits per character mean something. */
  readonly charactersPerToken?: number;
}

export interface TokenSourceOptions {
  /** The largest number of tokens of a row. */
  readonly blockSize: number;
  /** Ends documents, and comes before each of them. */
  readonly endId: number | undefined;
}

/**
 * The tokens of a corpus. Running text is read in windows at random places, as nanoGPT does; documents that fit are read
 * whole, as makemore does, several in a row where there is room, none of which sees another; longer ones follow one another with the end token between them.
 *
 * @throws UsageError if the text is shorter than a block or has characters that the vocabulary lacks.
 */
export function tokenSource(corpus: TextCorpus, tokenizer: Tokenizer, options: TokenSourceOptions): TokenSource {
  const { summary } = corpus;
  const encode = (texts: readonly string[]) =>
    texts.map((text) => encodeText(tokenizer, text, { addSpecialTokens: false, what: summary.split(";")[0]! }));
  const train = encode(corpus.train);
  const validation = encode(corpus.validation);
  if (!corpus.documents) return runningText(corpus, { train: joined(train), validation: joined(validation) }, options);
  const { endId, blockSize } = options;
  if (endId === undefined) {
    throw new UsageError("The tokenizer has no token for the end of a document; choose another, or --documents none");
  }
  // With the end token before it: what is predicted are its tokens and the end.
  const longest = [...train, ...validation].reduce((most, { length }) => Math.max(most, length + 1), 0);
  if (longest > blockSize) {
    const chain = (documents: readonly Int32Array[]) =>
      joined([Int32Array.of(endId), ...documents.flatMap((ids) => [ids, Int32Array.of(endId)])]);
    return runningText(corpus, { train: chain(train), validation: chain(validation) }, options);
  }
  const rows = { train: wholeDocuments(train, longest, endId), validation: wholeDocuments(validation, longest, endId) };
  return {
    summary,
    length: longest,
    batches: (split, { batchSize, rng }) =>
      packedBatches(rows[split], {
        batchSize: Math.min(batchSize, rows[split].count),
        rng,
        segments: holdsSeveral(rows[split]),
      }),
    validationRows: () => rows.validation,
    charactersPerToken: charactersPerToken(
      corpus,
      validation.reduce((sum, { length }) => sum + length + 1, 0),
    ),
  };
}

function runningText(
  corpus: TextCorpus,
  ids: { readonly train: Int32Array; readonly validation: Int32Array },
  { blockSize }: TokenSourceOptions,
): TokenSource {
  const { summary } = corpus;
  if (ids.train.length <= blockSize) {
    throw new UsageError(
      `${summary.split(";")[0]} has ${ids.train.length} tokens to train on; a block takes ${blockSize + 1}: ` +
        "give more text or a smaller --block-size",
    );
  }
  if (ids.validation.length < 2)
    throw new UsageError(`${summary} holds too little text to validate with; give more text`);
  return {
    summary,
    length: blockSize,
    batches(split, { batchSize, rng }) {
      const length = Math.min(blockSize, ids[split].length - 1);
      const windows = textWindows(ids[split], { batchSize, blockSize: length, rng });
      return {
        async next() {
          const { value } = await windows.next();
          return { done: false, value: { ids: value!.tokens, targets: value!.targets } };
        },
        state: windows.state,
        restore: windows.restore,
      };
    },
    validationRows: () => packStream([{ ids: ids.validation }], { length: blockSize }),
    charactersPerToken: charactersPerToken(corpus, ids.validation.length),
  };
}

/** Whole documents in rows, each between two end tokens: the one before it is read, the one behind it is learned. */
function wholeDocuments(documents: readonly Int32Array[], length: number, endId: number): PackedRows {
  const between = documents.map((ids) => ({ ids: joined([Int32Array.of(endId), ids, Int32Array.of(endId)]) }));
  return packDocuments(between, { length, padId: endId });
}

const charactersPerToken = ({ validation, documents }: TextCorpus, tokens: number): number =>
  // The end of a document counts as a character, as that of a line does in running text.
  (countCharacters(validation) + (documents ? validation.length : 0)) / tokens;

function joined(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
