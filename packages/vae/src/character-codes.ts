import * as tf from "@tensorflow/tfjs";

/** The id that ends a string and fills up the rest of its row. Characters have the ids from 1 on. */
export const END_OF_STRING = 0;

/** The characters that occur in the strings, sorted: character i has the id i + 1. */
export function characterAlphabet(strings: Iterable<string>): string[] {
  const characters = new Set<string>();
  for (const text of strings) for (const character of text) characters.add(character);
  return [...characters].sort();
}

/**
 * Strings as rows of ids, each ended and filled up by 0.
 *
 * @param options.length T: the longest string has at most T - 1 characters
 * @returns int32 [B, T], ids in [0, alphabet.length]
 * @throws if there are no strings, one is too long or holds a character that the alphabet lacks.
 */
export function encodeStrings(
  strings: readonly string[],
  options: { readonly alphabet: readonly string[]; readonly length: number },
): tf.Tensor2D {
  const { alphabet, length } = options;
  if (strings.length === 0) throw new Error("encodeStrings: got no strings; expected at least one");
  const ids = new Map(alphabet.map((character, i) => [character, i + 1]));
  const rows = new Int32Array(strings.length * length);
  for (const [row, text] of strings.entries()) {
    const characters = [...text];
    if (characters.length >= length) {
      throw new Error(
        `encodeStrings: '${text}' has ${characters.length} characters; expected at most ${length - 1}, one less than length`,
      );
    }
    for (const [t, character] of characters.entries()) {
      const id = ids.get(character);
      if (id === undefined) {
        throw new Error(
          `encodeStrings: '${text}' holds '${character}'; expected characters of the alphabet ${alphabet.join("")}`,
        );
      }
      rows[row * length + t] = id;
    }
  }
  return tf.tensor2d(rows, [strings.length, length], "int32");
}

/** Rows of ids [B, T] as strings, each up to its first 0. */
export async function decodeStrings(tokens: tf.Tensor2D, alphabet: readonly string[]): Promise<string[]> {
  const [batch, length] = tokens.shape;
  const ids = await tokens.data();
  return Array.from({ length: batch }, (_, row) => {
    let text = "";
    for (let t = 0; t < length; t++) {
      const id = ids[row * length + t]!;
      if (id === END_OF_STRING) break;
      const character = alphabet[id - 1];
      if (character === undefined) {
        throw new Error(`decodeStrings: id ${id} in row ${row}; expected ids up to ${alphabet.length}`);
      }
      text += character;
    }
    return text;
  });
}
