/** Which text loses tokens when both together are too long. */
export type TruncationStrategy = "longestFirst" | "onlyFirst" | "onlySecond";

export interface Truncation {
  readonly maxLength: number;
  readonly strategy: TruncationStrategy;
  readonly side: "left" | "right";
  /** Tokens by which windows of what was cut off overlap. */
  readonly stride: number;
}

/** A window [from, to) of a text's tokens. */
export type Window = readonly [from: number, to: number];

/**
 * The windows of each of one or two texts; the first of each is what stays. `room` is what the texts may take together.
 * Throws a RangeError where the strategy cannot make enough room.
 */
export function truncationWindows(lengths: readonly number[], room: number, truncation: Truncation): Window[][] {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const untouched = lengths.map((length): Window[] => [[0, length]]);
  if (total <= room) return untouched;
  const { strategy, stride, side } = truncation;
  const targets = [...lengths];
  if (room <= 0) targets.fill(0);
  else if (strategy === "longestFirst") {
    if (lengths.length === 1) targets[0] = room;
    else [targets[0], targets[1]] = balanced(lengths[0]!, lengths[1]!, room);
  } else {
    const which = strategy === "onlyFirst" ? 0 : 1;
    const length = lengths[which];
    if (length === undefined) {
      throw new RangeError(`encode: truncation is "onlySecond", but there is one text; a pair was expected`);
    }
    const excess = total - room;
    if (length <= excess) {
      throw new RangeError(
        `encode: truncation "${strategy}" has to remove ${excess} tokens from a text of ${length}; a longer maxLength or "longestFirst" was expected`,
      );
    }
    targets[which] = length - excess;
  }
  return lengths.map((length, i) => windowsOf(length, targets[i]!, stride, side));
}

/** What each of two texts may keep so that they share the room fairly. */
function balanced(first: number, second: number, room: number): [number, number] {
  let short = Math.min(first, second);
  let long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  return first > second ? [long, short] : [short, long];
}

function windowsOf(length: number, most: number, stride: number, side: "left" | "right"): Window[] {
  if (most >= length) return [[0, length]];
  if (most === 0) {
    return [
      [0, 0],
      [0, length],
    ];
  }
  if (stride >= most) {
    throw new RangeError(
      `encode: stride (${stride}) must be less than the ${most} tokens of the text that maxLength leaves`,
    );
  }
  const windows: Window[] = [];
  const step = most - stride;
  if (side === "right") {
    for (let start = 0; ; start += step) {
      const end = Math.min(start + most, length);
      windows.push([start, end]);
      if (end === length) return windows;
    }
  }
  for (let end = length; ; end -= step) {
    const start = Math.max(0, end - most);
    windows.push([start, end]);
    if (start === 0) return windows;
  }
}
