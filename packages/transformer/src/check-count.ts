/** @throws unless `value` is an integer from 1 to `limit`. */
export function checkCount(caller: string, name: string, value: number, limit = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= 1 && value <= limit) return;
  const upTo = limit < Number.MAX_SAFE_INTEGER ? ` of at most ${limit}` : "";
  throw new Error(`${caller}: ${name} (${value}) must be a positive integer${upTo}`);
}
