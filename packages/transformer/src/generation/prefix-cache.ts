import { treeDispose } from "@genai/core";
import type { KvCache } from "../kv-cache.ts";

// Prefix caching: keys and values of sequences that were read are kept, and a prompt that begins as one of them is read from
// there on. What a causal model makes of a token depends on those before it alone, so that nothing changes but the time.
//
//   W. Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023, section 4.4
//   L. Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", NeurIPS 2024, section 3

export interface PrefixCacheOptions {
  /** Most memory for the keys and values of sequences that have ended; 0 keeps none. Default 2^28, a quarter of a GiB. */
  readonly maxBytes?: number;
  /** Most of them. Default 64. */
  readonly maxSequences?: number;
}

/** Prefixes are used in blocks of so many tokens. */
export const BLOCK_TOKENS = 16;

interface Sequence {
  readonly ids: readonly number[];
  readonly cache: KvCache;
  readonly bytes: number;
}

/** The first tokens of a prompt, in a row of somebody's cache. */
export interface FoundPrefix {
  /** Tokens, in whole blocks. */
  readonly length: number;
  readonly cache: KvCache;
}

/** Sequences that have ended, each in a cache of one row; the one that was used longest ago leaves first. */
export class PrefixCache {
  readonly #maxBytes: number;
  readonly #maxSequences: number;
  /** The least recently used first. */
  #sequences: Sequence[] = [];
  #bytes = 0;

  constructor({ maxBytes = 2 ** 28, maxSequences = 64 }: PrefixCacheOptions) {
    for (const [name, value] of Object.entries({ maxBytes, maxSequences })) {
      if (value >= 0) continue;
      throw new Error(`createBatchScheduler: prefixCache.${name} (${value}) must be a number of at least 0`);
    }
    this.#maxBytes = maxBytes;
    this.#maxSequences = maxSequences;
  }

  /** Whether anything is kept. */
  get isOn(): boolean {
    return this.#maxBytes > 0 && this.#maxSequences > 0;
  }

  /** The sequence that the prompt shares most with. */
  find(prompt: readonly number[]): FoundPrefix | undefined {
    let best: FoundPrefix | undefined;
    for (const { ids, cache } of this.#sequences) {
      const length = sharedBlocks(prompt, ids);
      if (length > (best?.length ?? 0)) best = { length, cache };
    }
    return best;
  }

  /** A sequence that was found is used. */
  use(cache: KvCache): void {
    const at = this.#sequences.findIndex((sequence) => sequence.cache === cache);
    if (at >= 0) this.#sequences.push(...this.#sequences.splice(at, 1));
  }

  /** Whether a sequence of this size is to be kept: it is not too large, and says more than those that are. */
  wants(ids: readonly number[], bytes: number): boolean {
    if (!this.isOn || bytes > this.#maxBytes || ids.length < BLOCK_TOKENS) return false;
    return !this.#sequences.some((other) => isPrefix(ids, other.ids));
  }

  /** Keeps a sequence that is wanted, and takes over its cache. */
  add(ids: readonly number[], cache: KvCache, bytes: number): void {
    this.#remove((other) => isPrefix(other.ids, ids));
    this.#sequences.push({ ids, cache, bytes });
    this.#bytes += bytes;
    while (this.#bytes > this.#maxBytes || this.#sequences.length > this.#maxSequences) {
      const oldest = this.#sequences[0];
      this.#remove((other) => other === oldest);
    }
  }

  dispose(): void {
    this.#remove(() => true);
  }

  #remove(leaves: (sequence: Sequence) => boolean): void {
    this.#sequences = this.#sequences.filter((sequence) => {
      if (!leaves(sequence)) return true;
      this.#bytes -= sequence.bytes;
      treeDispose(sequence.cache);
      return false;
    });
  }
}

/** How many tokens of a prompt need not be read where `ids` were, in whole blocks. Its last one always is. */
export function sharedBlocks(prompt: readonly number[], ids: readonly number[]): number {
  const most = Math.min(prompt.length - 1, ids.length);
  let shared = 0;
  while (shared < most && prompt[shared] === ids[shared]) shared += 1;
  return shared - (shared % BLOCK_TOKENS);
}

function isPrefix(short: readonly number[], long: readonly number[]): boolean {
  return short.length <= long.length && short.every((id, i) => id === long[i]);
}
