/**
 * An endless or finite stream of batches whose place can be saved and restored: what a training loop reads from.
 * Structurally the interface of the same name in core.
 */
export interface BatchStream<B> extends AsyncIterable<B> {
  next(): Promise<IteratorResult<B, undefined>>;
  /** The place in the stream, as plain JSON. */
  state(): unknown;
  /** Goes to a saved place. */
  restore(state: unknown): void;
}
