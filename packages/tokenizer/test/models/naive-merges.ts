/** Byte-pair encoding as its definition reads: merge the leftmost pair of the smallest rank until none is left. */
export function naiveBpe(
  symbols: readonly string[],
  rankOf: (left: string, right: string) => number | undefined,
): string[] {
  const out = [...symbols];
  for (;;) {
    let best = Number.POSITIVE_INFINITY;
    let at = -1;
    for (let i = 0; i + 1 < out.length; i++) {
      const rank = rankOf(out[i]!, out[i + 1]!);
      if (rank !== undefined && rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) return out;
    out.splice(at, 2, out[at]! + out[at + 1]!);
  }
}
