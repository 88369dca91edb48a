import { type Tensor, type Tensor1D, tensor } from "@tensorflow/tfjs";
import { silenceTfjsBanner } from "./engine/tfjs-banner.ts";

// Philox4x32-10: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Counter-based: the n-th
// block of numbers is a pure function of (key, n), so a stream is saved, copied and split by copying a few integers.

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** The high 32 bits of the product of two unsigned 32-bit integers. */
function mulHigh(a: number, b: number): number {
  const aLo = a & 0xffff;
  const aHi = a >>> 16;
  const bLo = b & 0xffff;
  const bHi = b >>> 16;
  const mid = aHi * bLo + ((aLo * bLo) >>> 16);
  const mid2 = aLo * bHi + (mid & 0xffff);
  return (aHi * bHi + (mid >>> 16) + (mid2 >>> 16)) >>> 0;
}

/** Writes the Philox4x32-10 block of (counter, key) to `out[at .. at + 3]`. */
export function philox4x32(counter: readonly number[], key: readonly number[], out: Uint32Array, at = 0): void {
  let c0 = counter[0]!;
  let c1 = counter[1]!;
  let c2 = counter[2]!;
  let c3 = counter[3]!;
  let k0 = key[0]!;
  let k1 = key[1]!;
  for (let round = 0; round < 10; round++) {
    const hi0 = mulHigh(M0, c0 >>> 0);
    const lo0 = Math.imul(M0, c0);
    const hi1 = mulHigh(M1, c2 >>> 0);
    const lo1 = Math.imul(M1, c2);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 = (k0 + W0) | 0;
    k1 = (k1 + W1) | 0;
  }
  out[at] = c0;
  out[at + 1] = c1;
  out[at + 2] = c2;
  out[at + 3] = c3;
}

/** A saved position in a stream of random numbers; plain JSON. */
export interface RngState {
  readonly algorithm: "philox4x32-10";
  readonly key: readonly [number, number];
  /** Blocks drawn so far; an integer below 2^53. */
  readonly counter: number;
}

/** One request for random numbers. A compiled function records these and repeats them on the host at every call. */
export type Draw =
  | { readonly kind: "uniform"; readonly size: number; readonly low: number; readonly high: number }
  | { readonly kind: "normal"; readonly size: number; readonly mean: number; readonly std: number }
  | { readonly kind: "integers"; readonly size: number; readonly low: number; readonly high: number }
  | { readonly kind: "gumbel"; readonly size: number }
  | { readonly kind: "permutation"; readonly size: number };

/**
 * A seeded stream of random numbers, drawn on the host so that every backend and engine sees the same values.
 *
 * Every draw advances the stream. `fork` derives an independent stream; `state` and `Rng.fromState` save and restore one.
 */
export class Rng {
  #key: readonly [number, number];
  #counter: number;
  #each: ((draw: Tensor) => Tensor) | undefined;

  /** @param seed an integer of magnitude below 2^53. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw new Error(`Rng: seed (${seed}) must be a safe integer`);
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    this.#counter = 0;
  }

  static fromState(state: RngState): Rng {
    const { key, counter } = state ?? {};
    const isWord = (n: unknown) => typeof n === "number" && Number.isInteger(n) && n >= 0 && n < 2 ** 32;
    if (state?.algorithm !== "philox4x32-10" || !Array.isArray(key) || key.length !== 2 || !key.every(isWord)) {
      throw new Error(`Rng.fromState: ${JSON.stringify(state)} is no saved state of a philox4x32-10 generator`);
    }
    if (!Number.isSafeInteger(counter) || counter < 0) {
      throw new Error(`Rng.fromState: counter (${counter}) must be a safe integer that is not negative`);
    }
    const rng = new Rng(0);
    rng.#key = [key[0], key[1]];
    rng.#counter = counter;
    return rng;
  }

  /** The position in the stream, as plain JSON. */
  state(): RngState {
    return { algorithm: "philox4x32-10", key: this.#key, counter: this.#counter };
  }

  /**
   * A stream at the same place: from here on both give the same numbers. In a compiled function the two must make the same
   * draws and forks, in the same order.
   *
   * @param each is applied to every tensor that the copy, or a fork of it, draws
   */
  copy(each?: (draw: Tensor) => Tensor): Rng {
    const rng = Rng.fromState(this.state());
    rng.#each = each;
    return rng;
  }

  /**
   * An independent stream that depends on this one's position and on the label. Advances this stream by one block, so
   * that a function which forks at every step gets new numbers at every step.
   */
  fork(label: string | number): Rng {
    let h = 0x811c9dc5; // FNV-1a over the label's UTF-16 units, finished by Philox below
    const text = String(label);
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    const block = new Uint32Array(4);
    // The third and fourth counter words separate forks from draws, which leave the fourth at 0.
    philox4x32([this.#counter >>> 0, Math.floor(this.#counter / 2 ** 32), h >>> 0, 0x666f726b], this.#key, block);
    this.#counter += 1;
    const forked = Rng.fromState({ algorithm: "philox4x32-10", key: [block[0]!, block[1]!], counter: 0 });
    forked.#each = this.#each;
    return forked;
  }

  /** The next `size` random 32-bit words. */
  #words(size: number): Uint32Array {
    const blocks = Math.ceil(size / 4);
    const out = new Uint32Array(blocks * 4);
    const counter = [0, 0, 0, 0];
    for (let i = 0; i < blocks; i++) {
      counter[0] = this.#counter >>> 0;
      counter[1] = Math.floor(this.#counter / 2 ** 32);
      philox4x32(counter, this.#key, out, i * 4);
      this.#counter += 1;
    }
    return out.subarray(0, size);
  }

  /**
   * Performs one draw and returns plain numbers: the one place where randomness is made. The methods that return
   * tensors are shapes around it.
   */
  draw(request: Draw): Float32Array | Int32Array {
    const { size } = request;
    if (!Number.isInteger(size) || size < 0)
      throw new Error(`Rng.${request.kind}: size (${size}) must be a whole number`);
    switch (request.kind) {
      case "uniform": {
        const { low, high } = request;
        const words = this.#words(size);
        const out = new Float32Array(size);
        const scale = (high - low) * 2 ** -24;
        for (let i = 0; i < size; i++) out[i] = low + (words[i]! >>> 8) * scale;
        return out;
      }
      case "normal": {
        // Box-Muller; 1 - u lies in (0, 1], so that the logarithm is finite.
        const words = this.#words(size + (size & 1));
        const out = new Float32Array(size);
        for (let i = 0; i < size; i += 2) {
          const r = request.std * Math.sqrt(-2 * Math.log(1 - words[i]! * 2 ** -32));
          const angle = 2 * Math.PI * words[i + 1]! * 2 ** -32;
          out[i] = request.mean + r * Math.cos(angle);
          if (i + 1 < size) out[i + 1] = request.mean + r * Math.sin(angle);
        }
        return out;
      }
      case "integers": {
        const { low, high } = request;
        if (!Number.isInteger(low) || !Number.isInteger(high) || high <= low) {
          throw new Error(`Rng.integers: range [${low}, ${high}) must hold at least one integer`);
        }
        const words = this.#words(size);
        const out = new Int32Array(size);
        const span = high - low;
        for (let i = 0; i < size; i++) out[i] = low + Math.floor(words[i]! * 2 ** -32 * span);
        return out;
      }
      case "gumbel": {
        const words = this.#words(size);
        const out = new Float32Array(size);
        for (let i = 0; i < size; i++) out[i] = -Math.log(-Math.log((words[i]! + 0.5) * 2 ** -32));
        return out;
      }
      case "permutation": {
        const words = this.#words(size);
        const out = new Int32Array(size);
        for (let i = 0; i < size; i++) out[i] = i;
        for (let i = size - 1; i > 0; i--) {
          const j = Math.floor(words[i]! * 2 ** -32 * (i + 1));
          const swap = out[i]!;
          out[i] = out[j]!;
          out[j] = swap;
        }
        return out;
      }
    }
  }

  /** Turns a draw into a tensor. Overridden while a function is traced, to make the draw an input of the graph. */
  protected drawTensor(request: Draw, shape: readonly number[]): Tensor {
    const values = this.draw(request);
    silenceTfjsBanner(); // Models are often made before an engine is.
    const draw = tensor(values, shape as number[], values instanceof Int32Array ? "int32" : "float32");
    return this.#each?.(draw) ?? draw;
  }

  /** Float32 tensor of `shape`, uniform in [low, high). */
  uniform(shape: readonly number[], low = 0, high = 1): Tensor {
    return this.drawTensor({ kind: "uniform", size: sizeOf("uniform", shape), low, high }, shape);
  }

  /** Float32 tensor of `shape`, normal with the given mean and standard deviation. */
  normal(shape: readonly number[], mean = 0, std = 1): Tensor {
    return this.drawTensor({ kind: "normal", size: sizeOf("normal", shape), mean, std }, shape);
  }

  /** Int32 tensor of `shape`, uniform over the integers of [low, high). */
  integers(shape: readonly number[], low: number, high: number): Tensor {
    return this.drawTensor({ kind: "integers", size: sizeOf("integers", shape), low, high }, shape);
  }

  /** Float32 tensor of `shape` with standard Gumbel noise, -log(-log u). */
  gumbel(shape: readonly number[]): Tensor {
    return this.drawTensor({ kind: "gumbel", size: sizeOf("gumbel", shape) }, shape);
  }

  /** Int32 tensor [n]: the numbers 0 to n - 1 in random order. */
  permutation(n: number): Tensor1D {
    return this.drawTensor({ kind: "permutation", size: n }, [n]) as Tensor1D;
  }

  /**
   * Draws class indices from unnormalised log-probabilities by the Gumbel-max trick.
   *
   * @param logits [..., K]
   * @returns int32 [...]: argmax over the last axis of logits + Gumbel noise.
   */
  categorical(logits: Tensor): Tensor {
    if (logits.rank < 1) throw new Error("Rng.categorical: logits must have at least one axis");
    return logits.add(this.gumbel(logits.shape)).argMax(-1);
  }
}

function sizeOf(method: string, shape: readonly number[]): number {
  for (const n of shape) {
    if (!Number.isInteger(n) || n < 0) throw new Error(`Rng.${method}: shape [${shape}] must hold whole numbers`);
  }
  return shape.reduce((a, b) => a * b, 1);
}
