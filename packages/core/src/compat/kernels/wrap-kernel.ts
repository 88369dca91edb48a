import * as tf from "@tensorflow/tfjs";

type KernelArgs = Parameters<tf.KernelFunc>[0];

/** The kernel of that name on that backend, replaced by what `wrap` makes of it. Does nothing where there is none. */
export function wrapKernel(
  kernelName: string,
  backendName: string,
  wrap: (stock: tf.KernelFunc) => tf.KernelFunc,
): void {
  const config = tf.getKernel(kernelName, backendName);
  if (!config) return;
  tf.unregisterKernel(kernelName, backendName);
  tf.registerKernel({ ...config, kernelFunc: wrap(config.kernelFunc) });
}

/** Registers a kernel unless the backend has one of that name. */
export function addKernel(kernelName: string, backendName: string, kernelFunc: tf.KernelFunc): void {
  if (!tf.getKernel(kernelName, backendName)) tf.registerKernel({ kernelName, backendName, kernelFunc });
}

/** A kernel made of other ops. tfjs hands its kernels tensors, and does not record what they call. */
export function composed<A>(
  fn: (inputs: Record<string, tf.Tensor>, attrs: A, backend: unknown) => tf.Tensor | tf.TensorInfo,
): tf.KernelFunc {
  return ({ inputs, attrs, backend }: KernelArgs) =>
    tf.tidy(() => fn(inputs as Record<string, tf.Tensor>, attrs as A, backend) as tf.Tensor);
}
