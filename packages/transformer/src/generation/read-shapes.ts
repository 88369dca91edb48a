// The shapes in which the scheduler reads prompts. Each is a graph, which takes time to compile and memory: there are few.

/** Tokens of one prompt that are read at once. */
const WIDTHS = [16, 32, 64, 128] as const;

/**
 * Rows by tokens in which prompts that have just come are read together: more do not become faster. Rows that nobody needs cost as
 * much as the others, so that two prompts are read sooner one after the other (GPT-2 124M, 32 tokens: 70 ms each, 180 for four).
 */
const GROUPS = [
  { rows: 4, width: 16 },
  { rows: 16, width: 16 },
  { rows: 4, width: 32 },
] as const;

/** How many tokens to read next of a prompt of which `rest` are left, at most `limit`. */
export function readWidth(rest: number, limit: number): number {
  const widths = WIDTHS.filter((width) => width <= limit);
  return widths.find((width) => width >= rest) ?? widths.at(-1) ?? limit;
}

/**
 * In how many rows to read new prompts of these lengths together, the first and those that fit beside it, and padded to how many
 * tokens; one row where too few fit.
 *
 * @param limit of the tokens, padding included
 */
export function freshGroup(lengths: readonly number[], limit: number): { rows: number; width: number } {
  const length = lengths[0]!;
  const fitting = GROUPS.filter(({ rows, width }) => width >= length && rows * width <= limit);
  const width = fitting[0]?.width ?? length;
  const count = lengths.filter((other) => other <= width).length;
  return (
    fitting.filter((group) => group.width === width && count > group.rows / 2).at(-1) ?? { rows: 1, width: length }
  );
}

/** Slots for so many tokens: few sizes, each four times the one before, up to `most`. */
export function slotsFor(tokens: number, most: number): number {
  let slots = 256;
  while (slots < tokens) slots *= 4;
  return Math.min(slots, most);
}
