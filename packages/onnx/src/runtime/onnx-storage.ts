import * as tf from "@tensorflow/tfjs";
import type { Tensor as OrtTensor } from "onnxruntime-common";
import type { Elements } from "./buffer-pool.ts";
import type { Loader } from "./program.ts";

interface Entry {
  readonly tensor: OrtTensor;
  references: number;
}

/**
 * Holds the results of compiled functions: a tfjs backend without kernels. Its tensors are passed back to compiled
 * functions without a copy; when a tfjs op uses one, tfjs moves it to the active backend.
 */
export class OnnxStorage extends tf.KernelBackend {
  #entries = new Map<object, Entry>();
  readonly #loader: Pick<Loader, "recycle" | "reusesMemory">;

  constructor(loader: Pick<Loader, "recycle" | "reusesMemory">) {
    super();
    this.#loader = loader;
  }

  /** A tfjs tensor over an ONNX Runtime tensor, which it owns from now on. */
  adopt(tensor: OrtTensor): tf.Tensor {
    const dataId = {};
    this.#entries.set(dataId, { tensor, references: 1 });
    const dtype = tensor.type as tf.DataType;
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape: [...tensor.dims], dtype }, this);
  }

  /** The ONNX Runtime tensor behind a tfjs tensor, or undefined if it lives elsewhere. */
  find(dataId: object): OrtTensor | undefined {
    return this.#entries.get(dataId)?.tensor;
  }

  override readSync(dataId: object): tf.backend_util.BackendValues {
    const { tensor } = this.#entries.get(dataId)!;
    if (tensor.location !== "cpu" && tensor.location !== "cpu-pinned") {
      throw new Error(
        "a tensor on the GPU cannot be read synchronously, nor by an eager tfjs op; await tensor.data(), or compute inside a compiled function",
      );
    }
    return this.#ownedBy(tensor.data as Elements);
  }

  override async read(dataId: object): Promise<tf.backend_util.BackendValues> {
    const { tensor } = this.#entries.get(dataId)!;
    return this.#ownedBy((await tensor.getData()) as Elements);
  }

  /** What a reader may keep: a copy where the memory is used again after the tensor's disposal. */
  #ownedBy(elements: Elements): Elements {
    return this.#loader.reusesMemory ? elements.slice() : elements;
  }

  override disposeData(dataId: object, force = false): boolean {
    const entry = this.#entries.get(dataId);
    if (!entry) return true;
    entry.references -= 1;
    if (!force && entry.references > 0) return false;
    this.#entries.delete(dataId);
    this.#loader.recycle(entry.tensor);
    return true;
  }

  override refCount(dataId: object): number {
    return this.#entries.get(dataId)?.references ?? 0;
  }

  override incRef(dataId: object): void {
    this.#entries.get(dataId)!.references += 1;
  }

  override numDataIds(): number {
    return this.#entries.size;
  }

  override write(): object {
    throw new Error("the storage of compiled results makes no tensors; set a tfjs backend");
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override memory() {
    return { unreliable: false };
  }

  override timerAvailable(): boolean {
    return false;
  }

  override dispose(): void {
    for (const dataId of [...this.#entries.keys()]) this.disposeData(dataId, true);
  }
}
