// The shapes in which the scheduler reads prompts. Each is a graph, which takes time to compile and memory: there are few.

/** Tokens of one prompt that are read at once. */
const WIDTHS = [16, 32, 64, 128] as const;

/** Rows by tokens in which prompts that have just come are read together: more do not become faster. */
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
 * How many of `count` new prompts to read together, of which the first has `length` tokens, and padded to how many.
 *
 * @param limit of the tokens, padding included
 */
export function freshGroup(length: number, count: number, limit: number): { rows: number; width: number } {
  const fitting = GROUPS.filter(({ rows, width }) => width >= length && rows * width <= limit);
  const [narrow] = fitting;
  if (count < 2 || !narrow) return { rows: 1, width: length };
  // Rows that nobody needs cost as much as the others.
  return fitting.find(({ rows, width }) => width === narrow.width && rows > narrow.rows && count > rows / 2) ?? narrow;
}

/** Slots for so many tokens: few sizes, each four times the one before, up to `most`. */
export function slotsFor(tokens: number, most: number): number {
  let slots = 256;
  while (slots < tokens) slots *= 4;
  return Math.min(slots, most);
}
