import type { ElementType } from "../graph/graph.ts";

export type Elements = Float32Array | Int32Array | Uint8Array;

const BYTES: Partial<Record<ElementType, number>> = { float32: 4, int32: 4, bool: 1 };

/** Buffers of one size that are kept; more are left to the garbage collector. */
const MAX_KEPT = 64;

/**
 * Memory of disposed results, used again for new ones of the same size: a training step writes its new state where the
 * state before the last one was, so that memory stays flat and no page is touched for the first time in the loop.
 */
export class BufferPool {
  readonly #free = new Map<number, ArrayBuffer[]>();

  take(type: ElementType, size: number): Elements {
    const bytes = size * BYTES[type]!;
    const buffer = this.#free.get(bytes)?.pop() ?? new ArrayBuffer(bytes);
    if (type === "float32") return new Float32Array(buffer);
    return type === "int32" ? new Int32Array(buffer) : new Uint8Array(buffer);
  }

  give({ buffer, byteLength }: Elements): void {
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== byteLength) return;
    const list = this.#free.get(byteLength);
    if (!list) this.#free.set(byteLength, [buffer]);
    else if (list.length < MAX_KEPT) list.push(buffer);
  }

  clear(): void {
    this.#free.clear();
  }
}
