import { treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { KvCache } from "../kv-cache.ts";

/**
 * Caches that are not in use, one of each shape, for the next that has it: fresh memory is slow to be touched for the first
 * time, and what was freed would wait for the garbage collector. What they hold is not looked at, their lengths being 0.
 */
export class SpareCaches {
  readonly #create: (rows: number, slots: number) => KvCache;
  readonly #spare = new Map<string, KvCache["layers"]>();

  constructor(create: (rows: number, slots: number) => KvCache) {
    this.#create = create;
  }

  /** A cache without tokens, which is the caller's. */
  take(rows: number, slots: number): KvCache {
    const shape = `${rows}x${slots}`;
    const layers = this.#spare.get(shape);
    if (!layers) return this.#create(rows, slots);
    this.#spare.delete(shape);
    return { layers, lengths: tf.zeros([rows], "int32") };
  }

  /** Takes over a cache that nobody needs. */
  give({ layers, lengths }: KvCache): void {
    const [rows, , slots] = layers[0]!.k.shape;
    const shape = `${rows}x${slots}`;
    lengths.dispose();
    if (this.#spare.has(shape)) treeDispose(layers);
    else this.#spare.set(shape, layers);
  }

  dispose(): void {
    for (const layers of this.#spare.values()) treeDispose(layers);
    this.#spare.clear();
  }
}
