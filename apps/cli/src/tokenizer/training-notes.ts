import type { TrainProgress } from "@genai/tokenizer";
import { printNote } from "../terminal.ts";

const secondsBetweenLines = 5;

/** Shows on stderr how far training is: one line that changes on a terminal, a line every few seconds elsewhere. */
export function trainingNotes(): { update(progress: TrainProgress): void; stop(): void } {
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

function sentence({ stage, done, total }: TrainProgress): string {
  if (stage === "reading") return `read ${(done / 1e6).toFixed(1)} million characters`;
  if (stage === "fitting") return `fitting, step ${done}`;
  return `merging, ${done.toLocaleString("en")} of ${(total ?? done).toLocaleString("en")} tokens`;
}
