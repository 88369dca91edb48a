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
  for await (const text of eachText(trainer, texts)) {
    if (typeof text !== "string") {
      throw new TypeError(`${trainer}: text ${index} is of type ${typeof text}; every text must be a string`);
    }
    index++;
    for (const part of boundary === null ? [text] : text.split(boundary)) {
      for (let start = 0; start < part.length; ) {
        const end = partEnd(part, start);
        if (end > start) split(start === 0 && end === part.length ? part : part.slice(start, end), onWord);
        read += end - start;
        start = end;
        if (pacer.due()) {
          await pacer.pause();
          onProgress?.({ stage: "reading", done: read, total: null });
        }
      }
    }
    if (pacer.due()) await pacer.pause();
  }
  onProgress?.({ stage: "reading", done: read, total: null });
  return counts;
}

/** The texts, without a turn of the microtask queue for each where they are at hand. */
async function* eachText(trainer: string, texts: Corpus): AsyncGenerator<string> {
  if (typeof texts === "string") {
    throw new TypeError(`${trainer}: texts is one string, whose characters would be texts of their own; give [text]`);
  }
  if (texts === null || typeof texts !== "object" || !(Symbol.iterator in texts || Symbol.asyncIterator in texts)) {
    throw new TypeError(`${trainer}: texts (${typeof texts}) must be an iterable or async iterable of strings`);
  }
  yield* texts;
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
