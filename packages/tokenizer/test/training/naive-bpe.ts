/** Byte-pair encoding as the paper's listing does it: counts every pair anew before each merge. For comparison. */
export interface NaiveResult {
  readonly tokens: string[];
  readonly merges: [string, string][];
}

export interface NaiveOptions {
  readonly vocabSize: number;
  readonly minFrequency?: number;
  readonly maxTokenLength?: number;
  readonly forbidden?: ReadonlySet<string>;
  readonly join?: (left: string, right: string) => string;
}

/** `words` are lists of symbols with a count; `tokens` the symbols, whose index breaks ties. */
export function naiveBpe(
  words: readonly (readonly [symbols: readonly string[], count: number])[],
  tokens: readonly string[],
  options: NaiveOptions,
): NaiveResult {
  const { vocabSize, minFrequency = 1, maxTokenLength = Number.POSITIVE_INFINITY, join = (a, b) => a + b } = options;
  const vocab = [...tokens];
  const lengths = new Map(tokens.map((token) => [token, 1]));
  const merges: [string, string][] = [];
  let corpus = words.map(([symbols, count]) => [[...symbols], count] as const);
  while (vocab.length < vocabSize) {
    const counts = new Map<string, { pair: [string, string]; count: number }>();
    for (const [symbols, count] of corpus) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair: [string, string] = [symbols[i]!, symbols[i + 1]!];
        const key = JSON.stringify(pair);
        const entry = counts.get(key) ?? { pair, count: 0 };
        entry.count += count;
        counts.set(key, entry);
      }
    }
    const rank = ({ pair }: { pair: [string, string] }) =>
      pair.map((symbol) => vocab.indexOf(symbol)) as [number, number];
    const best = [...counts.values()]
      .filter(
        ({ pair: [a, b], count }) =>
          count >= Math.max(1, minFrequency) &&
          lengths.get(a)! + lengths.get(b)! <= maxTokenLength &&
          !options.forbidden?.has(join(a, b)),
      )
      .sort((x, y) => y.count - x.count || rank(x)[0] - rank(y)[0] || rank(x)[1] - rank(y)[1])[0];
    if (!best) break;
    const [a, b] = best.pair;
    const merged = join(a, b);
    if (!merges.some(([c, d]) => c === a && d === b)) merges.push([a, b]);
    if (!vocab.includes(merged)) vocab.push(merged);
    if (!lengths.has(merged)) lengths.set(merged, lengths.get(a)! + lengths.get(b)!);
    corpus = corpus.map(([symbols, count]) => {
      const out: string[] = [];
      for (let i = 0; i < symbols.length; i++) {
        if (symbols[i] === a && symbols[i + 1] === b) {
          out.push(merged);
          i++;
        } else {
          out.push(symbols[i]!);
        }
      }
      return [out, count] as const;
    });
  }
  return { tokens: vocab, merges };
}
