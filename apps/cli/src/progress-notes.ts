import { printNote } from "./terminal.ts";

const secondsBetweenLines = 5;

/** Shows on stderr how far work is: one line that changes on a terminal, a line every few seconds elsewhere. */
export function progressNotes<P>(sentence: (progress: P) => string): { update(progress: P): void; stop(): void } {
  const live = process.stderr.isTTY === true;
  let last = live ? Number.NEGATIVE_INFINITY : performance.now();
  let shown = false;
  return {
    update(progress) {
      const now = performance.now();
      if (now - last < (live ? 100 : secondsBetweenLines * 1000)) return;
      last = now;
      if (!live) return printNote(sentence(progress));
      process.stderr.write(`\r\u001b[K${sentence(progress)}`);
      shown = true;
    },
    stop() {
      if (shown) process.stderr.write("\r\u001b[K");
      shown = false;
    },
  };
}
