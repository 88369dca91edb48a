import { type Engine, treeDispose } from "@genai/core";
import type { ImageSet } from "@genai/datasets";
import * as tf from "@tensorflow/tfjs";
import type { HostImages } from "../../run/contact-sheet.ts";

/** The images [start, start + count), or to the end, as float32 NHWC in [0, 1]. */
export function imageTensor(set: ImageSet, count = set.shape[0], start = 0): tf.Tensor4D {
  const { data, shape } = hostImages(set, count, start);
  return tf.tensor4d(data, shape as [number, number, number, number]);
}

/** The same in host memory. */
export function hostImages(set: ImageSet, count = set.shape[0], start = 0): HostImages {
  const [, height, width, channels] = set.shape;
  const size = height * width * channels;
  const bytes = set.images.subarray(start * size, (start + count) * size);
  const data = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) data[i] = bytes[i]! / 255;
  return { data, shape: [bytes.length / size, height, width, channels] };
}

/** Class indices [start, start + count), or to the end, as int32. */
export function labelTensor(set: ImageSet, count = set.shape[0], start = 0): tf.Tensor1D {
  return tf.tensor1d(Int32Array.from(set.labels.subarray(start, start + count)), "int32");
}

/** Compiles `fn`, runs it once, frees its arguments and gives the numbers of the tensor that it returns. */
export async function runOnce<P, A extends readonly unknown[]>(
  engine: Engine,
  fn: (params: P, ...args: A) => tf.Tensor,
  params: P,
  ...args: A
): Promise<{ data: Float32Array; shape: number[] }> {
  const compiled = engine.compile(fn);
  try {
    const result = await compiled(params, ...args);
    const data = (await result.data()) as Float32Array;
    const { shape } = result;
    result.dispose();
    return { data, shape };
  } finally {
    treeDispose(args);
    compiled.dispose();
  }
}

/** Values of `runOnce`, whatever their leading axes, as images like those of the set. */
export function toImages({ data }: { readonly data: Float32Array }, like: readonly number[]): HostImages {
  const [height, width, channels] = like.slice(-3) as [number, number, number];
  return { data, shape: [data.length / (height * width * channels), height, width, channels] };
}

/** Rows of one list of images and of others in turn. */
export function interleaveRows(columns: number, ...lists: readonly HostImages[]): HostImages {
  const [count, height, width, channels] = lists[0]!.shape;
  const size = height * width * channels;
  const parts: Float32Array[] = [];
  for (let at = 0; at < count; at += columns) {
    for (const { data: values } of lists) {
      const row = new Float32Array(columns * size).fill(1);
      row.set(values.subarray(at * size, Math.min(count, at + columns) * size));
      parts.push(row);
    }
  }
  const all = new Float32Array(parts.length * columns * size);
  for (const [i, part] of parts.entries()) all.set(part, i * columns * size);
  return { data: all, shape: [parts.length * columns, height, width, channels] };
}
