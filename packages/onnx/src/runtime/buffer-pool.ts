import type { ElementType } from "../graph/graph.ts";

type Elements = Float32Array | Int32Array | Uint8Array;

const BYTES: Partial<Record<ElementType, number>> = { float32: 4, int32: 4, bool: 1 };

/**
 * Memory of disposed results, used again for new ones of the same size: a training step writes its new state where the
 * state before the last one was, so that memory stays flat and no page is touched for the first time in the loop.
 */
export class BufferPool {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #pooled: boolean;

  constructor(pooled: boolean) {
    this.#pooled = pooled;
  }

  take(type: ElementType, size: number): Elements {
    const bytes = size * BYTES[type]!;
    const buffer = this.#free.get(bytes)?.pop() ?? new ArrayBuffer(bytes);
    return type === "float32"
      ? new Float32Array(buffer)
      : type === "int32"
        ? new Int32Array(buffer)
        : new Uint8Array(buffer);
  }

  give(elements: Elements): void {
    const { buffer } = elements;
    if (!this.#pooled || !(buffer instanceof ArrayBuffer) || buffer.byteLength !== elements.byteLength) return;
    const list = this.#free.get(buffer.byteLength);
    if (!list) this.#free.set(buffer.byteLength, [buffer]);
    else if (list.length < 64) list.push(buffer);
  }

  clear(): void {
    this.#free.clear();
  }
}
