import * as tf from "@tensorflow/tfjs";

// The few places where tfjs' engine is used below its documented surface, with the types that it does not export.

/** What tfjs keeps for the data of a tensor. */
export interface BackendTensorInfo {
  readonly backend: tf.KernelBackend;
  readonly dtype: tf.DataType;
  readonly shape: number[];
}

/** The record of the data behind a tensor, or undefined if it is disposed of. */
export function tensorInfoOf(dataId: object): BackendTensorInfo | undefined {
  const { state } = tf.engine() as unknown as { state: { tensorInfo: WeakMap<object, BackendTensorInfo> } };
  return state.tensorInfo.get(dataId);
}

/** The data of a tensor, kept alive for as long as somebody computes with it, whatever becomes of the tensor. */
export interface HeldData {
  readonly dataId: object;
  readonly backend: tf.KernelBackend;
  readonly shape: readonly number[];
  readonly dtype: tf.DataType;
}

/** Holds the data of a tensor; `releaseData` ends that. Costs less than a second tensor. */
export function holdData({ dataId, shape, dtype }: tf.Tensor): HeldData {
  const { backend } = tensorInfoOf(dataId)!;
  backend.incRef(dataId);
  return { dataId, backend, shape, dtype };
}

export function releaseData({ dataId, backend }: HeldData): void {
  if (!backend.disposeData(dataId)) return;
  (tf.engine() as unknown as { removeDataId(dataId: object, backend: tf.KernelBackend): void }).removeDataId(
    dataId,
    backend,
  );
}

/** A tensor over held data, which stays held. */
export function tensorOver({ dataId, backend, shape, dtype }: HeldData): tf.Tensor {
  backend.incRef(dataId);
  return tf.engine().makeTensorFromTensorInfo({ dataId, shape: [...shape], dtype }, backend);
}

/** A second tensor over the same data, without running a kernel and thus without moving it to another backend. */
export function shareTensor(tensor: tf.Tensor): tf.Tensor {
  const info = tensorInfoOf(tensor.dataId);
  if (!info) throw new Error("a tensor of the result is disposed of");
  info.backend.incRef(tensor.dataId);
  return tf
    .engine()
    .makeTensorFromTensorInfo({ dataId: tensor.dataId, shape: tensor.shape, dtype: tensor.dtype }, info.backend);
}

/** Runs `fn` with the named backend active. The backend must be ready, so that the switch happens at once. */
export function withActiveBackend<R>(name: string, fn: () => R): R {
  const engine = tf.engine() as unknown as { backendName: string | undefined; registry: Record<string, unknown> };
  if (!engine.backendName) {
    // Nothing is active yet: let tfjs choose, so that there is something to come back to. It cannot where every backend
    // of a higher priority starts asynchronously; plain JavaScript is always there.
    try {
      void tf.backend();
    } catch {
      void tf.setBackend("cpu");
    }
  }
  const before = engine.backendName;
  void tf.setBackend(name);
  try {
    return fn();
  } finally {
    if (before && before in engine.registry) void tf.setBackend(before);
  }
}
