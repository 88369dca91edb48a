import type { Pacer } from "./pacer.ts";
import { commonPrefixes, suffixArray } from "./suffix-array.ts";
import type { SymbolWords } from "./symbol-words.ts";

/** Substrings of the words: piece i is text[starts[i]] to text[starts[i] + lengths[i] - 1]. */
export interface SeedPieces {
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
  /** How often the substring occurs in the corpus. */
  readonly counts: Float64Array;
}

/**
 * The substrings of 2 to `maxLength` symbols that occur at least twice in the corpus and cannot be made longer without
 * occurring less often (the nodes of its suffix tree): the `most` of them with the largest count times length, in the
 * order of the suffix array. Symbols must be greater than 0, words separated by 0. Linear in the words' length, some 25
 * bytes of memory a symbol.
 */
export async function seedPieces(
  words: SymbolWords,
  options: { maxLength: number; most: number; pacer: Pacer },
): Promise<SeedPieces> {
  const { symbols: text, starts, counts } = words;
  const { maxLength, most, pacer } = options;
  let largest = 0;
  for (const symbol of text) if (symbol > largest) largest = symbol;
  const sorted = suffixArray(text, largest);
  await pacer.pause();
  const common = commonPrefixes(text, sorted);
  const wordOf = new Int32Array(text.length);
  for (let word = 0; word < counts.length; word++) wordOf.fill(word, starts[word]!, starts[word + 1]!);

  let found = { starts: new Int32Array(4096), lengths: new Int32Array(4096), counts: new Float64Array(4096) };
  let size = 0;
  const emit = (start: number, length: number, count: number) => {
    if (length < 2 || count < 2) return;
    if (size === found.starts.length) {
      const larger = {
        starts: new Int32Array(size * 2),
        lengths: new Int32Array(size * 2),
        counts: new Float64Array(size * 2),
      };
      larger.starts.set(found.starts);
      larger.lengths.set(found.lengths);
      larger.counts.set(found.counts);
      found = larger;
    }
    found.starts[size] = start;
    found.lengths[size] = length;
    found.counts[size++] = count;
  };

  // The path from the root to the suffix at hand: lengths grow along it, counts are those of the part seen so far.
  const lengths = new Int32Array(maxLength + 2);
  const totals = new Float64Array(maxLength + 2);
  const places = new Int32Array(maxLength + 2);
  let top = 0;
  for (let i = 0; i < sorted.length; i++) {
    if ((i & 4095) === 0 && pacer.due()) await pacer.pause();
    const start = sorted[i]!;
    if (text[start] === 0) continue;
    const word = wordOf[start]!;
    // A word's last symbol is the 0 that ends it.
    const length = Math.min(starts[word + 1]! - 1 - start, maxLength);
    if (lengths[top] === length) {
      totals[top]! += counts[word]!;
    } else {
      top++;
      lengths[top] = length;
      totals[top] = counts[word]!;
      places[top] = start;
    }
    const shared = i + 1 < sorted.length ? Math.min(common[i + 1]!, maxLength) : 0;
    while (lengths[top]! > shared) {
      emit(places[top]!, lengths[top]!, totals[top]!);
      if (lengths[top - 1]! < shared) {
        lengths[top] = shared;
      } else {
        totals[top - 1]! += totals[top]!;
        top--;
      }
    }
  }

  const chosen = size <= most ? null : bestPlaces(found, size, most);
  const pick = <A extends Int32Array | Float64Array>(from: A): A =>
    (chosen === null ? from.slice(0, size) : from.filter((_, i) => i < size && chosen[i] === 1)) as A;
  return { starts: pick(found.starts), lengths: pick(found.lengths), counts: pick(found.counts) };
}

/** The words, or if they have more than `most` symbols the most frequent ones (of equal counts the first). */
export function mostFrequentWords(words: SymbolWords, most: number): SymbolWords {
  const { symbols, starts, counts } = words;
  if (symbols.length <= most) return words;
  const order = Int32Array.from(counts.keys()).sort((a, b) => counts[b]! - counts[a]! || a - b);
  let left = most;
  const chosen = order.filter((word) => {
    left -= starts[word + 1]! - starts[word]!;
    return left >= 0;
  });
  chosen.sort();
  const kept = {
    symbols: new Int32Array(chosen.reduce((sum, word) => sum + starts[word + 1]! - starts[word]!, 0)),
    starts: new Int32Array(chosen.length + 1),
    counts: new Float64Array(chosen.length),
  };
  for (const [i, word] of chosen.entries()) {
    kept.symbols.set(symbols.subarray(starts[word]!, starts[word + 1]!), kept.starts[i]!);
    kept.starts[i + 1] = kept.starts[i]! + starts[word + 1]! - starts[word]!;
    kept.counts[i] = counts[word]!;
  }
  return kept;
}

/** Marks the `most` pieces with the largest score; of equal scores those that come first. */
function bestPlaces(pieces: SeedPieces, size: number, most: number): Uint8Array {
  const scores = new Float64Array(size);
  for (let i = 0; i < size; i++) scores[i] = pieces.counts[i]! * pieces.lengths[i]!;
  const least = scores.slice().sort()[size - most]!;
  let above = 0;
  for (const score of scores) if (score > least) above++;
  let ties = most - above;
  const chosen = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    if (scores[i]! > least || (scores[i] === least && ties-- > 0)) chosen[i] = 1;
  }
  return chosen;
}
