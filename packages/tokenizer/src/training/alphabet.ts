import type { Pacer } from "./pacer.ts";
import { checkWhole, compareCodePoints } from "./train-options.ts";

/**
 * The characters of the words, sorted by code point: at most `limitAlphabet` of them, the most frequent ones (of equal
 * counts the smaller code points), and always those of `initialAlphabet`.
 */
export async function chooseAlphabet(
  trainer: string,
  counts: ReadonlyMap<string, number>,
  options: { readonly limitAlphabet?: number; readonly initialAlphabet?: Iterable<string> },
  pacer: Pacer,
): Promise<string[]> {
  const { limitAlphabet } = options;
  if (limitAlphabet !== undefined) checkWhole(trainer, "limitAlphabet", limitAlphabet, 0);
  const characters = new Map<string, number>();
  for (const [word, count] of counts) {
    for (const character of word) characters.set(character, (characters.get(character) ?? 0) + count);
    if (pacer.due()) await pacer.pause();
  }
  // Of a longer string the first character counts, as in the Rust library.
  for (const text of options.initialAlphabet ?? []) {
    for (const character of text) {
      characters.set(character, Number.POSITIVE_INFINITY);
      break;
    }
  }
  const byCount = [...characters].sort(([a, m], [b, n]) => (m === n ? compareCodePoints(a, b) : n - m));
  const most = byCount.filter(
    ([, count], i) => i < (limitAlphabet ?? byCount.length) || count === Number.POSITIVE_INFINITY,
  );
  return most.map(([character]) => character).sort(compareCodePoints);
}
