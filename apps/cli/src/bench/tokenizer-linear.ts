import { Rng } from "@genai/core";
import type { HostBenchJob } from "./job.ts";
import { peakRssMib, round } from "./measure.ts";
import { gpt2Folder, ours, peers } from "./tokenizer-peers.ts";

const PEER_CHARACTERS = 8_000;

/**
 * Whether the time is in proportion to the length of a piece: one character 1 and 10 million times over, and "words" of
 * 0.1 and 1 million random letters. The peers, which may be quadratic here, get 4,000 and 8,000 characters.
 */
export const tokenizerLinear: HostBenchJob = {
  name: "tokenizer_linear",
  summary: "GPT-2's vocabulary on one repeated character (10 MB) and one long word (1 MB)",
  needsEngine: false,
  async run(_, { seed }) {
    await gpt2Folder();
    const letters = new Rng(seed).draw({ kind: "integers", size: 1_000_000, low: 97, high: 123 }) as Int32Array;
    let word = "";
    for (let at = 0; at < letters.length; at += 10_000)
      word += String.fromCharCode(...letters.subarray(at, at + 10_000));
    const tokenizer = await ours.load();
    const time = (encode: (text: string) => ArrayLike<number>, text: string): number => {
      const start = performance.now();
      encode(text);
      return round(performance.now() - start, 1);
    };
    const run = (text: string) => time((given) => tokenizer.encode(given), text);
    run("b".repeat(100_000)); // compiles
    run(word.slice(0, 100_000));
    const result = {
      repeated_1mb_ms: run("a".repeat(1e6)),
      repeated_10mb_ms: run("a".repeat(1e7)),
      word_100kb_ms: run(word.slice(0, 100_000)),
      word_1mb_ms: run(word),
    };
    const peerRows = [];
    for (const peer of peers) {
      const { name, version, encode } = await peer.load();
      const half = time(encode, "c".repeat(PEER_CHARACTERS / 2));
      peerRows.push({
        name,
        version,
        repeated_4kb_ms: half,
        repeated_8kb_ms: time(encode, "a".repeat(PEER_CHARACTERS)),
      });
    }
    return {
      bench: "tokenizer_linear",
      engine: "none",
      ...result,
      repeated_ratio: round(result.repeated_10mb_ms / result.repeated_1mb_ms, 2),
      word_ratio: round(result.word_1mb_ms / result.word_100kb_ms, 2),
      libraries: peerRows,
      peak_rss_mib: peakRssMib(),
    };
  },
};
