/**
 * A text with, for each of its UTF-16 units, the range of the original text that it stands for: what normalizers and
 * pre-tokenizers pass on, so that the offsets of a token always slice the text that the user gave.
 */
export interface AlignedText {
  readonly text: string;
  /** Where the text starts in the original while it is an unchanged slice of it; then `starts` and `ends` are null. */
  readonly base: number;
  /** Start in the original of each unit, or null for an unchanged slice: unit i is [base + i, base + i + 1). */
  readonly starts: Int32Array | null;
  /** End in the original of each unit, or null. */
  readonly ends: Int32Array | null;
}
