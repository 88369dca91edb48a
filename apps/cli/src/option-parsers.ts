import { InvalidArgumentError } from "commander";

/** Parses a whole number of at least `least`, for a commander option. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const n = Number(text);
    if (text.trim() !== "" && Number.isSafeInteger(n) && n >= least) return n;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

/** Parses a finite number greater than 0. */
export function positiveNumber(text: string): number {
  const n = Number(text);
  if (text.trim() !== "" && Number.isFinite(n) && n > 0) return n;
  throw new InvalidArgumentError("Expected a number greater than 0.");
}

/** Parses a finite number of at least 0. */
export function nonNegativeNumber(text: string): number {
  return text.trim() !== "" && Number(text) === 0 ? 0 : positiveNumber(text);
}

/** Parses whole numbers with commas between them. */
export function wholeNumbers(text: string): number[] {
  const list = text.split(",").map(Number);
  if (list.every((n) => Number.isSafeInteger(n) && n > 0)) return list;
  throw new InvalidArgumentError("Expected whole numbers with commas between them, such as 32,64.");
}

/** Collects the values of an option that may be given several times. */
export function collected(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Parses a number from 0 up to, but not including, 1. */
export function share(text: string): number {
  const n = Number(text);
  if (text.trim() !== "" && n >= 0 && n < 1) return n;
  throw new InvalidArgumentError("Expected a number of at least 0 and below 1.");
}

/** Parses a number above 0 and up to 1. */
export function shareOrOne(text: string): number {
  const n = Number(text);
  if (text.trim() !== "" && n > 0 && n <= 1) return n;
  throw new InvalidArgumentError("Expected a number above 0 and up to 1.");
}

/** Parses a finite number of either sign. */
export function finiteNumber(text: string): number {
  const n = Number(text);
  if (text.trim() !== "" && Number.isFinite(n)) return n;
  throw new InvalidArgumentError("Expected a number.");
}
