import type { HostBenchJob } from "./job.ts";
import { peakRssMib, round } from "./measure.ts";
import { gpt2Folder, ours, peers } from "./tokenizer-peers.ts";

/**
 * The time from nothing to the first ids with GPT-2's vocabulary: modules, files, tables, one short text. Every library
 * once in this process, ours first, so that nothing is warm; run the job again for another sample.
 */
export const tokenizerLoad: HostBenchJob = {
  name: "tokenizer_load",
  summary: "loading GPT-2's tokenizer up to the first ids, beside other libraries",
  needsEngine: false,
  async run() {
    await gpt2Folder();
    const libraries = [];
    for (const library of [ours, ...peers]) {
      const start = performance.now();
      const encoder = await library.load();
      const { length } = encoder.encode("Hello, world! This is the first text.");
      const ms = round(performance.now() - start, 1);
      if (length === 0) throw new Error(`${library.name} gives no ids`);
      libraries.push({ name: library.name, version: encoder.version, ms });
    }
    return {
      bench: "tokenizer_load",
      engine: "none",
      ms: libraries[0]!.ms,
      libraries,
      peak_rss_mib: peakRssMib(),
    };
  },
};
