import { openSafetensors } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";

export type Tensors = Record<string, tf.Tensor>;

/** All tensors of a safetensors file by name. */
export async function loadedTensors(bytes: Uint8Array): Promise<Tensors> {
  const file = await openSafetensors(bytes);
  const tensors: Tensors = {};
  for (const name of file.tensors.keys()) tensors[name] = await file.tensor(name);
  return tensors;
}
