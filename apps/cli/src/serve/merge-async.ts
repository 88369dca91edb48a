/** What several iterators give, as it comes. Leaving it, or an error in one, leaves all. */
export async function* mergeAsync<T>(sources: readonly AsyncIterator<T, undefined>[]): AsyncGenerator<T, void> {
  const read = (at: number) => sources[at]!.next().then((result) => ({ at, result }));
  const pending = new Map(sources.map((_, at) => [at, read(at)]));
  // Errors of others, after the one that is thrown, are of no interest.
  for (const promise of pending.values()) promise.catch(() => {});
  try {
    while (pending.size > 0) {
      const { at, result } = await Promise.race(pending.values());
      if (result.done) pending.delete(at);
      else {
        const next = read(at);
        next.catch(() => {});
        pending.set(at, next);
        yield result.value;
      }
    }
  } finally {
    for (const source of sources) void source.return?.();
  }
}
