import type { Pacer } from "./pacer.ts";
import type { Corpus, TrainProgress } from "./train-options.ts";

/** Calls `onWord` with each word of a text. */
export type WordSplitter = (text: string, onWord: (word: string) => void) => void;

export interface CountWordsOptions {
  readonly split: WordSplitter;
  /** Texts at which a text is cut and which are not counted. */
  readonly boundaries: readonly string[];
  readonly pacer: Pacer;
  readonly onProgress?: ((progress: TrainProgress) => void) | undefined;
}

/** A text is cut into parts of at least this length, so that memory stays bounded and the event loop runs. */
const partLength = 1 << 18;

/** Counts the different words of all texts. What is kept grows with the different words, not with the corpus. */
export async function countWords(
  trainer: string,
  texts: Corpus,
  options: CountWordsOptions,
): Promise<Map<string, number>> {
  const { split, boundaries, pacer, onProgress } = options;
  const counts = new Map<string, number>();
  const onWord = (word: string) => {
    const count = counts.get(word);
    if (count === undefined) counts.set(flat(word), 1);
    else counts.set(word, count + 1);
  };
  const boundary = boundaries.length > 0 ? anyOf(boundaries) : null;
  let read = 0;
  let index = 0;
  /** Counts a text, and returns what to wait for, if anything. */
  const count = (text: unknown): Promise<void> | undefined => {
    if (typeof text !== "string") {
      throw new TypeError(`${trainer}: text ${index} is of type ${typeof text}; every text must be a string`);
    }
    index++;
    const parts = partsOf(text, boundary);
    if (text.length <= 2 * partLength) {
      for (const part of parts) split(part, onWord);
      read += text.length;
      return pacer.due() ? pause() : undefined;
    }
    return countSlowly(parts);
  };
  const countSlowly = async (parts: Iterable<string>) => {
    for (const part of parts) {
      split(part, onWord);
      read += part.length;
      if (pacer.due()) await pause();
    }
  };
  const pause = async () => {
    await pacer.pause();
    onProgress?.({ stage: "reading", done: read, total: null });
  };

  if (typeof texts === "string") {
    throw new TypeError(`${trainer}: texts is one string, whose characters would be texts of their own; give [text]`);
  }
  if (typeof texts !== "object" || texts === null || !(Symbol.iterator in texts || Symbol.asyncIterator in texts)) {
    throw new TypeError(`${trainer}: texts (${typeof texts}) must be an iterable or async iterable of strings`);
  }
  if (Symbol.asyncIterator in texts) {
    for await (const text of texts) await count(text);
  } else {
    // Not for await: a turn of the microtask queue for each of a million lines takes longer than counting them.
    for (const text of texts) {
      const waiting = count(text);
      if (waiting !== undefined) await waiting;
    }
  }
  onProgress?.({ stage: "reading", done: read, total: null });
  return counts;
}

/** The text between the boundaries, long parts cut where no word is. */
function* partsOf(text: string, boundary: RegExp | null): Generator<string> {
  for (const part of boundary === null ? [text] : text.split(boundary)) {
    for (let start = 0; start < part.length; ) {
      const end = partEnd(part, start);
      yield start === 0 && end === part.length ? part : part.slice(start, end);
      start = end;
    }
  }
}

/** Cuts after the end of a line whose next line begins with something visible, or else before a space. */
function partEnd(text: string, start: number): number {
  if (text.length - start <= 2 * partLength) return text.length;
  const least = start + partLength;
  for (let at = text.indexOf("\n", least); at >= 0 && at + 1 < text.length; at = text.indexOf("\n", at + 1)) {
    if (text.charCodeAt(at + 1) > 0x20) return at + 1;
    if (at > least + partLength) break;
  }
  const space = text.indexOf(" ", least);
  return space < 0 ? text.length : space;
}

function anyOf(strings: readonly string[]): RegExp {
  const longestFirst = [...strings].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((string) => string.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|"));
}

const units = new Uint16Array(4096);

/** A copy that does not keep the text alive of which the string is a part. */
function flat(word: string): string {
  if (word.length < 13 || word.length > units.length) return word;
  for (let i = 0; i < word.length; i++) units[i] = word.charCodeAt(i);
  return String.fromCharCode.apply(null, units.subarray(0, word.length) as unknown as number[]);
}
