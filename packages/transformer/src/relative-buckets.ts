export interface RelativeBuckets {
  /** How many buckets there are; half of them for keys behind the query when bidirectional. */
  readonly buckets: number;
  /** Distances from here on share the last bucket. */
  readonly maxDistance: number;
  /** Whether keys may stand behind their query; otherwise those get the bucket of distance 0. */
  readonly bidirectional: boolean;
}

/**
 * The buckets of relative positions (Raffel et al. 2020): one for each short distance, then wider ones, in proportion to
 * the distance. Logarithms are taken in single precision, as the authors' code does.
 *
 * @param relative key position - query position
 */
export function relativeBuckets(
  relative: readonly number[],
  { buckets, maxDistance, bidirectional }: RelativeBuckets,
): number[] {
  const count = bidirectional ? Math.floor(buckets / 2) : buckets;
  const exact = Math.floor(count / 2);
  const widest = Math.fround(Math.log(maxDistance / exact));
  return relative.map((difference) => {
    const offset = bidirectional && difference > 0 ? count : 0;
    const distance = bidirectional ? Math.abs(difference) : Math.max(-difference, 0);
    if (distance < exact) return offset + distance;
    const log = Math.fround(Math.log(Math.fround(distance / exact)));
    const far = exact + Math.trunc(Math.fround(Math.fround(log / widest) * (count - exact)));
    return offset + Math.min(far, count - 1);
  });
}
