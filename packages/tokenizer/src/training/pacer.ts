/** Lets the event loop run now and then during a long computation, and ends it when its signal is aborted. */
export interface Pacer {
  /** Whether it is time to pause. Cheap; ask often. */
  due(): boolean;
  /** Waits for one turn of the event loop. Throws the signal's reason if it is aborted. */
  pause(): Promise<void>;
}

const millisecondsBetweenPauses = 40;

/** A pacer that is due every 40 ms. */
export function createPacer(signal?: AbortSignal): Pacer {
  signal?.throwIfAborted();
  let last = performance.now();
  return {
    due: () => performance.now() - last >= millisecondsBetweenPauses,
    async pause() {
      await eventLoopTurn();
      signal?.throwIfAborted();
      last = performance.now();
    },
  };
}

function eventLoopTurn(): Promise<void> {
  // Browsers make nested timers wait for 4 ms; one wait in 40 ms does not matter.
  const { setImmediate } = globalThis as { setImmediate?: (resolve: () => void) => void };
  return new Promise((resolve) => (setImmediate ? setImmediate(resolve) : setTimeout(resolve, 0)));
}
