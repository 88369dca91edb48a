import * as tf from "@tensorflow/tfjs";
import { allocate, type WasmBackend } from "./wasm-heap.ts";
import { composed, wrapKernel } from "./wrap-kernel.ts";

interface MatMulAttrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

type Product = (...args: unknown[]) => void;
const products = new WeakMap<object, Product>();

function productOf(backend: WasmBackend): Product {
  let product = products.get(backend);
  if (!product) {
    const [number, array] = ["number", "array"];
    product = backend.wasm.cwrap("BatchMatMul", null, [
      number,
      array,
      number,
      number,
      array,
      number,
      number,
      number,
      number,
    ]);
    products.set(backend, product);
  }
  return product;
}

const bytes = (shape: readonly number[]) => new Uint8Array(new Int32Array(shape).buffer);

/** a [batchA, m, k] x b [batchB, k, n], with the index of the operands' matrices for each matrix of the result. */
function batchedProduct(backend: WasmBackend, a: tf.Tensor3D, b: tf.Tensor3D, pairs: readonly [number, number][]) {
  const [, m, k] = a.shape;
  const n = b.shape[2];
  const out = allocate(backend, [pairs.length, m, n]);
  const product = productOf(backend);
  const [shapeA, shapeB] = [bytes([1, m, k]), bytes([1, k, n])];
  const offset = (info: tf.TensorInfo) => backend.dataIdMap.get(info.dataId).memoryOffset;
  const [atA, atB, atOut] = [offset(a), offset(b), offset(out)];
  // Each matrix is shown to the C++ side as a tensor of its own, at its place in the batch's memory.
  const view = (at: number, size: number) => {
    const id = backend.dataIdNextNumber++;
    backend.wasm.tfjs.registerTensor(id, size, at);
    return id;
  };
  for (const [i, [indexA, indexB]] of pairs.entries()) {
    const ids = [
      view(atA + indexA * m * k * 4, m * k),
      view(atB + indexB * k * n * 4, k * n),
      view(atOut + i * m * n * 4, m * n),
    ] as const;
    product(ids[0], shapeA, 3, ids[1], shapeB, 3, false, false, ids[2]);
    for (const id of ids) backend.wasm.tfjs.disposeData(id);
  }
  return out;
}

/** For each matrix of the broadcast batch, which matrix of an operand with that batch shape it reads. */
function sources(batch: readonly number[], operand: readonly number[]): number[] {
  let indices = [0];
  let stride = 1;
  for (let axis = batch.length - 1; axis >= 0; axis--) {
    const own = operand[axis - batch.length + operand.length] ?? 1;
    const steps = Array.from({ length: batch[axis]! }, (_, i) => (own === 1 ? 0 : i * stride));
    indices = steps.flatMap((step) => indices.map((index) => index + step));
    stride *= own;
  }
  return indices;
}

const swapLast = (x: tf.Tensor) => {
  const order = x.shape.map((_, axis) => axis);
  return tf.transpose(x, [...order.slice(0, -2), order.length - 1, order.length - 2]);
};

/**
 * The C++ kernel uses its fast product (XNNPACK) for two plain matrices only; transposed or batched operands take a loop
 * that is about 20 times slower. Here operands are transposed first and batches multiplied matrix by matrix.
 */
export function repairWasmMatMul(): void {
  wrapKernel("BatchMatMul", "wasm", (stock) => (args) => {
    const { a: first, b: second } = args.inputs as { a: tf.Tensor; b: tf.Tensor };
    if (first.dtype !== "float32" || second.dtype !== "float32") return stock(args); // It says what is wrong.
    return composed<MatMulAttrs>((inputs, { transposeA, transposeB }, backend) => {
      const a = transposeA ? swapLast(inputs.a!) : inputs.a!;
      const b = transposeB ? swapLast(inputs.b!) : inputs.b!;
      const [m, k] = a.shape.slice(-2) as [number, number];
      const n = b.shape.at(-1)!;
      const batchA = a.shape.slice(0, -2);
      const batchB = b.shape.slice(0, -2);
      const batch = tf.broadcast_util.assertAndGetBroadcastShape(batchA, batchB);
      const shape = [...batch, m, n];
      const plain = { transposeA: false, transposeB: false };
      if (tf.util.sizeFromShape(batchB) === 1) {
        // All rows of all batches at once.
        const rows = a.size / k;
        const product = stock({
          inputs: { a: tf.reshape(a, [1, rows, k]), b: tf.reshape(b, [1, k, n]) },
          attrs: plain as unknown as tf.NamedAttrMap,
          backend: backend as object,
        }) as tf.TensorInfo;
        return { ...product, shape };
      }
      const fromB = sources(batch, batchB);
      const pairs = sources(batch, batchA).map((indexA, i): [number, number] => [indexA, fromB[i]!]);
      const a3 = tf.reshape(a, [-1, m, k]) as tf.Tensor3D;
      const b3 = tf.reshape(b, [-1, k, n]) as tf.Tensor3D;
      return { ...batchedProduct(backend as WasmBackend, a3, b3, pairs), shape };
    })(args);
  });
}
