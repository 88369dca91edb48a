/**
 * An endless or finite stream of batches whose place can be saved and restored: what a training loop reads from.
 *
 * Batches are trees of tensors that the receiver owns; `fit` disposes of each after its step.
 */
export interface BatchStream<B> {
  next(): Promise<IteratorResult<B, undefined>>;
  /** The place in the stream after the batches given out so far, as plain JSON. */
  state(): unknown;
  /** Goes to a saved place, so that the next batch is the one that followed it. */
  restore(state: unknown): void;
}
