import * as tf from "@tensorflow/tfjs";
import type { Tensor as OrtTensor } from "onnxruntime-common";
import { type Counted, CountedBackend } from "../counted-backend.ts";
import type { Elements } from "./buffer-pool.ts";
import type { Loader } from "./program.ts";

interface Entry extends Counted {
  readonly tensor: OrtTensor;
}

/**
 * Holds the results of compiled functions: a tfjs backend without kernels. Its tensors are passed back to compiled
 * functions without a copy; when a tfjs op uses one, tfjs moves it to the active backend.
 */
export class OnnxStorage extends CountedBackend<Entry> {
  readonly #loader: Pick<Loader, "recycle" | "reusesMemory">;

  constructor(loader: Pick<Loader, "recycle" | "reusesMemory">) {
    super();
    this.#loader = loader;
  }

  /** A tfjs tensor of this shape over an ONNX Runtime tensor with as many elements, which it owns from now on. */
  adopt(tensor: OrtTensor, shape: readonly number[]): tf.Tensor {
    const dataId = {};
    this.entries.set(dataId, { tensor, references: 1 });
    const dtype = tensor.type as tf.DataType;
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape: [...shape], dtype }, this);
  }

  /** The ONNX Runtime tensor behind a tfjs tensor, or undefined if it lives elsewhere. */
  find(dataId: object): OrtTensor | undefined {
    return this.entries.get(dataId)?.tensor;
  }

  override readSync(dataId: object): tf.backend_util.BackendValues {
    const { tensor } = this.entries.get(dataId)!;
    if (tensor.location !== "cpu" && tensor.location !== "cpu-pinned") {
      throw new Error(
        "a tensor on the GPU cannot be read synchronously, nor by an eager tfjs op; await tensor.data(), or compute inside a compiled function",
      );
    }
    return this.#ownedBy(tensor.data as Elements);
  }

  override async read(dataId: object): Promise<tf.backend_util.BackendValues> {
    const { tensor } = this.entries.get(dataId)!;
    return this.#ownedBy((await tensor.getData()) as Elements);
  }

  /** What a reader may keep: a copy where the memory is used again after the tensor's disposal. */
  #ownedBy(elements: Elements): Elements {
    return this.#loader.reusesMemory ? elements.slice() : elements;
  }

  protected override released({ tensor }: Entry): void {
    this.#loader.recycle(tensor);
  }

  override write(): object {
    throw new Error("the storage of compiled results makes no tensors; set a tfjs backend");
  }
}
