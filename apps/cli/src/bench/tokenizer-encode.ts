import type { HostBenchJob } from "./job.ts";
import { median, peakRssMib, round } from "./measure.ts";
import { type Gpt2Encoder, gpt2Folder, mixedText, ours, peers } from "./tokenizer-peers.ts";

/** Encoding 1 MB of English and code with GPT-2's vocabulary, beside other libraries, in turn in every round. */
export const tokenizerEncode: HostBenchJob = {
  name: "tokenizer_encode",
  summary: "1 MB of English and code with GPT-2's vocabulary, beside other libraries",
  needsEngine: false,
  async run(_, { steps = 15, warmup = 2 }) {
    await gpt2Folder();
    const text = await mixedText();
    const libraries: Gpt2Encoder[] = [];
    for (const library of [ours, ...peers]) libraries.push(await library.load());
    const times = libraries.map((): number[] => []);
    const first: number[] = [];
    let expected = "";
    for (let i = 0; i < warmup + steps; i++) {
      for (const [k, library] of libraries.entries()) {
        const start = performance.now();
        const ids = library.encode(text);
        const ms = performance.now() - start;
        if (i === 0) {
          first.push(ms);
          const given = Array.from(ids).join();
          if (expected !== "" && given !== expected) throw new Error(`${library.name} gives other ids`);
          expected = given;
        } else if (i >= warmup) times[k]!.push(ms);
      }
    }
    const mbPerS = (ms: number) => round(text.length / 1e3 / ms, 2);
    const rows = libraries.map(({ name, version }, k) => ({
      name,
      version,
      ms_median: round(median(times[k]!), 2),
      ms_min: round(Math.min(...times[k]!), 2),
      ms_first: round(first[k]!, 2),
      mb_per_s: mbPerS(median(times[k]!)),
    }));
    const fastest = rows.slice(1).reduce((a, b) => (a.ms_median < b.ms_median ? a : b));
    return {
      bench: "tokenizer_encode",
      engine: "none",
      steps,
      ms_median: rows[0]!.ms_median,
      mb_per_s: rows[0]!.mb_per_s,
      tokens: expected.split(",").length,
      fastest_peer: fastest.name,
      ratio: round(fastest.ms_median / rows[0]!.ms_median, 2),
      ratio_best: round(Math.min(...rows.slice(1).map((row) => row.ms_min)) / rows[0]!.ms_min, 2),
      libraries: rows,
      peak_rss_mib: peakRssMib(),
    };
  },
};
