import * as tf from "@tensorflow/tfjs";
import { type Counted, CountedBackend } from "../counted-backend.ts";
import { type ElementType, type Graph, isConstant, type Value } from "../graph/graph.ts";
import { reshape } from "../graph/operators.ts";
import { lowerings } from "../lowering/index.ts";
import { type BackendTensorInfo, tensorInfoOf } from "../tfjs-engine.ts";

/** The tfjs backend whose kernels do not compute but record. Active only while a function is traced. */
export const RECORDING_BACKEND = "genai-recording";

interface Entry extends Counted {
  readonly value: Value;
}

/** Element types that tensors can have in a compiled function. */
export function elementType(dtype: string, what: string): ElementType {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new Error(`${what} has dtype ${dtype}; a compiled function takes float32, int32 and bool tensors`);
}

/**
 * Stands in for a tfjs backend during a trace: tensors hold graph values instead of numbers, so that tfjs' own
 * differentiation, run as it is, writes the backward pass into the graph.
 */
export class RecordingBackend extends CountedBackend<Entry> {
  /** Tensors from outside that the function captured, as constants of the graph. */
  #captured = new Map<object, Value>();
  #graph: Graph | undefined;

  /** Records into `graph` until `end`. */
  begin(graph: Graph): void {
    if (this.#graph)
      throw new Error("compile: a function is being traced already; a compiled function cannot call another");
    this.#graph = graph;
  }

  end(): void {
    this.#graph = undefined;
    this.#captured.clear();
  }

  get graph(): Graph {
    if (!this.#graph) throw new Error("the recording backend is active only while a function is compiled");
    return this.#graph;
  }

  /** A tensor that stands for `value`, tracked by tfjs like any other. */
  tensorOf(value: Value): tf.Tensor {
    const { dataId, shape, dtype } = this.infoOf(value);
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype }, this);
  }

  infoOf(value: Value): tf.TensorInfo {
    const dataId = {};
    this.entries.set(dataId, { value, references: 1 });
    return { dataId, shape: [...value.shape], dtype: value.type as tf.DataType };
  }

  /** The graph value behind a tensor; tensors made outside of the function become constants. */
  graphValue(info: tf.TensorInfo): Value {
    return this.entries.get(info.dataId)?.value ?? this.#capture(info);
  }

  #capture({ dataId, dtype, shape }: tf.TensorInfo): Value {
    // The tensor's own type and shape: tfjs' casts and reshapes share the memory, and thus the id, of another tensor.
    const type = elementType(dtype, "compile: a tensor captured by the function");
    const known = this.#captured.get(dataId);
    if (known?.type === type) return reshape(this.graph, known, shape);
    const source = tensorInfoOf(dataId) as BackendTensorInfo | undefined;
    if (!source) throw new Error("compile: the function uses a tensor that is disposed of");
    const data = source.backend.readSync(dataId) as Float32Array | Int32Array | Uint8Array;
    // Copied, since the source may be freed and its memory reused.
    const value = this.graph.constant(type, shape, data.slice());
    this.#captured.set(dataId, value);
    return value;
  }

  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
    const type = elementType(dtype, "compile: a tensor made in the function");
    const dataId = {};
    const data = ArrayBuffer.isView(values) ? (values as Float32Array) : (values as unknown as number[]);
    this.entries.set(dataId, { value: this.graph.constant(type, shape, data.slice()), references: 1 });
    return dataId;
  }

  override move(
    dataId: object,
    values: tf.backend_util.BackendValues,
    shape: number[],
    dtype: tf.DataType,
    references: number,
  ): void {
    const type = elementType(dtype, "compile: a tensor captured by the function");
    this.entries.set(dataId, { value: this.graph.constant(type, shape, values as Float32Array), references });
  }

  override readSync(dataId: object): tf.backend_util.BackendValues {
    const value = this.entries.get(dataId)?.value;
    // Constants are known: tfjs itself reads some (paddings, einsum's checks).
    if (value && isConstant(value)) {
      const size = value.shape.reduce((n, dim) => n * dim, 1);
      const data = value.data ?? new Array<number>(size).fill(value.fill!);
      return value.type === "float32"
        ? Float32Array.from(data)
        : value.type === "int32"
          ? Int32Array.from(data)
          : Uint8Array.from(data);
    }
    throw new Error(
      "compile: a value cannot be read (dataSync, arraySync, print) while the function is traced, since nothing is computed yet; return the tensor and read it outside, or branch with tf.where",
    );
  }

  override async read(dataId: object): Promise<tf.backend_util.BackendValues> {
    return this.readSync(dataId);
  }

  protected override released(): void {}
}

let backend: RecordingBackend | undefined;

/** The one recording backend, registered with its kernels at first use. */
export function recordingBackend(): RecordingBackend {
  if (backend) return backend;
  const made = new RecordingBackend();
  tf.registerBackend(RECORDING_BACKEND, () => made, 0);
  for (const [kernelName, lower] of Object.entries(lowerings)) {
    tf.registerKernel({
      kernelName,
      backendName: RECORDING_BACKEND,
      kernelFunc: ({ inputs, attrs }) => {
        const values: Record<string, Value> = {};
        for (const [key, info] of Object.entries(inputs)) {
          if (info) values[key] = made.graphValue(info as tf.TensorInfo);
        }
        const out = lower({ graph: made.graph, inputs: values, attrs: attrs ?? {} });
        return "id" in out ? made.infoOf(out) : out.map((value) => made.infoOf(value));
      },
    });
  }
  backend = made;
  return made;
}

/** What tfjs throws for a kernel that has no lowering, said so that it helps. */
export function explainMissingKernel(error: unknown): unknown {
  // tfjs words it in two ways: "Cannot find registered kernel 'X' for backend ..." and "Kernel 'X' not registered for ...".
  const match =
    error instanceof Error && /kernel '(\w+)'(?: not registered)? for backend 'genai-recording'/i.exec(error.message);
  if (!match) return error;
  return new Error(
    `compile: the tfjs kernel '${match[1]}' has no ONNX lowering; write it in the operations that @genai/onnx's README lists, or run the function on a tfjs engine`,
    { cause: error },
  );
}
