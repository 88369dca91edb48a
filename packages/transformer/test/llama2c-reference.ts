import { Rng } from "@genai/core";

// llama2.c itself, as plain loops over numbers: how it writes its files, and what it computes of them, one token at a time.

export interface Llama2cSizes {
  readonly dim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocab: number;
  readonly length: number;
  readonly tied: boolean;
}

type LayerWeight = "attNorm" | "ffnNorm" | "wq" | "wk" | "wv" | "wo" | "w1" | "w2" | "w3";
export type Llama2cWeights = Record<LayerWeight, Float32Array[]> & Record<"embedding" | "norm" | "head", Float32Array>;

export function drawLlama2c(sizes: Llama2cSizes, seed: number): Llama2cWeights {
  const rng = new Rng(seed);
  const draw = (size: number, low: number, high: number) =>
    rng.draw({ kind: "uniform", size, low, high }) as Float32Array;
  const { dim, hidden, layers, heads, kvHeads, vocab, tied } = sizes;
  const each = (size: number, low = -0.5, high = 0.5) => Array.from({ length: layers }, () => draw(size, low, high));
  const kv = (dim / heads) * kvHeads;
  const embedding = draw(vocab * dim, -1, 1);
  return {
    embedding,
    attNorm: each(dim, 0.5, 1.5),
    ffnNorm: each(dim, 0.5, 1.5),
    wq: each(dim * dim),
    wk: each(kv * dim),
    wv: each(kv * dim),
    wo: each(dim * dim),
    w1: each(hidden * dim),
    w2: each(hidden * dim),
    w3: each(hidden * dim),
    norm: draw(dim, 0.5, 1.5),
    head: tied ? embedding : draw(vocab * dim, -1, 1),
  };
}

export function writeLlama2c(sizes: Llama2cSizes, w: Llama2cWeights, version: 0 | 1): Uint8Array {
  const { dim, hidden, layers, heads, kvHeads, vocab, length, tied } = sizes;
  const header = new DataView(new ArrayBuffer(version === 0 ? 28 : 256));
  const numbers = [dim, hidden, layers, heads, kvHeads, version === 0 && !tied ? -vocab : vocab, length];
  if (version === 1) {
    header.setUint32(0, 0x616b3432, true);
    header.setInt32(4, 1, true);
    header.setUint8(36, tied ? 1 : 0);
  }
  for (const [i, n] of numbers.entries()) header.setInt32((version === 0 ? 0 : 8) + 4 * i, n, true);
  const attention = [...w.wq, ...w.wk, ...w.wv, ...w.wo];
  const inner = [...w.w1, ...w.w2, ...w.w3];
  const tables = new Float32Array((length * dim) / heads).fill(7);
  const head = tied ? [] : [w.head];
  const parts =
    version === 0
      ? [w.embedding, ...w.attNorm, ...attention, ...w.ffnNorm, ...inner, w.norm, tables, ...head]
      : [...w.attNorm, ...w.ffnNorm, w.norm, w.embedding, ...attention, ...inner, ...head];
  const out = new Uint8Array(header.byteLength + 4 * parts.reduce((sum, part) => sum + part.length, 0));
  out.set(new Uint8Array(header.buffer));
  let at = header.byteLength;
  for (const part of parts) {
    out.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return out;
}

/** The logits [tokens][vocab] that llama2.c gives. */
export function runLlama2c(sizes: Llama2cSizes, w: Llama2cWeights, tokens: readonly number[]): number[][] {
  const { dim, layers, heads, kvHeads } = sizes;
  const headSize = dim / heads;
  const keys: number[][][] = Array.from({ length: layers }, () => []);
  const values: number[][][] = Array.from({ length: layers }, () => []);
  const matmul = (matrix: Float32Array, x: readonly number[]) =>
    Array.from({ length: matrix.length / x.length }, (_, i) =>
      x.reduce((sum, value, j) => sum + matrix[i * x.length + j]! * value, 0),
    );
  const rmsnorm = (x: readonly number[], weight: Float32Array) => {
    const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + 1e-5);
    return x.map((v, i) => weight[i]! * scale * v);
  };
  const rotate = (x: readonly number[], position: number) => {
    const out = [...x];
    for (let i = 0; i < x.length; i += 2) {
      const angle = position / 10000 ** ((i % headSize) / headSize);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      out[i] = x[i]! * cos - x[i + 1]! * sin;
      out[i + 1] = x[i]! * sin + x[i + 1]! * cos;
    }
    return out;
  };
  return tokens.map((token, position) => {
    let x = Array.from(w.embedding.subarray(token * dim, (token + 1) * dim));
    for (let l = 0; l < layers; l++) {
      const normed = rmsnorm(x, w.attNorm[l]!);
      const q = rotate(matmul(w.wq[l]!, normed), position);
      keys[l]!.push(rotate(matmul(w.wk[l]!, normed), position));
      values[l]!.push(matmul(w.wv[l]!, normed));
      const mixed = new Array<number>(dim).fill(0);
      for (let h = 0; h < heads; h++) {
        const of = Math.floor((h * kvHeads) / heads) * headSize;
        const scores = keys[l]!.map((k) => {
          let score = 0;
          for (let i = 0; i < headSize; i++) score += q[h * headSize + i]! * k[of + i]!;
          return Math.exp(score / Math.sqrt(headSize));
        });
        const total = scores.reduce((a, b) => a + b, 0);
        for (const [t, score] of scores.entries()) {
          for (let i = 0; i < headSize; i++) mixed[h * headSize + i]! += (score / total) * values[l]![t]![of + i]!;
        }
      }
      const attended = matmul(w.wo[l]!, mixed);
      x = x.map((v, i) => v + attended[i]!);
      const inner = rmsnorm(x, w.ffnNorm[l]!);
      const gate = matmul(w.w1[l]!, inner);
      const up = matmul(w.w3[l]!, inner);
      const down = matmul(
        w.w2[l]!,
        gate.map((v, i) => (v / (1 + Math.exp(-v))) * up[i]!),
      );
      x = x.map((v, i) => v + down[i]!);
    }
    return matmul(w.head, rmsnorm(x, w.norm));
  });
}
