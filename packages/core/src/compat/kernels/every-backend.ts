import * as tf from "@tensorflow/tfjs";
import { contract, parseEinsum } from "../contraction.ts";
import { repairAvgPoolGrad } from "./avg-pool-grad.ts";
import { addKernel, composed, wrapKernel } from "./wrap-kernel.ts";

/**
 * Cumulative sums and products along a negative axis: stock kernels take it for an inner axis and recurse without end
 * (cpu) or write beyond their memory (wasm).
 */
function normaliseScanAxis(backendName: string): void {
  for (const kernelName of ["Cumsum", "Cumprod"]) {
    wrapKernel(kernelName, backendName, (stock) => ({ inputs, attrs, backend }) => {
      const [axis = 0] = tf.util.parseAxisParam(attrs!.axis as number, inputs.x!.shape);
      return stock({ inputs, attrs: { ...attrs, axis }, backend });
    });
  }
}

/**
 * [2, 1, M, K] x [1, 3, K, N]: stock kernels compute as many products as the larger operand has, here 3 of 6, and pair
 * [2, 3] with [2, 1] wrongly. They are right where a batch is whole or one matrix.
 */
function broadcastBatches(backendName: string): void {
  wrapKernel("BatchMatMul", backendName, (stock) => (args) => {
    const { a, b } = args.inputs as { a: tf.Tensor; b: tf.Tensor };
    const batches = [a.shape.slice(0, -2), b.shape.slice(0, -2)] as const;
    const batch = tf.broadcast_util.assertAndGetBroadcastShape(...batches);
    const count = tf.util.sizeFromShape(batch);
    if (batches.every((own) => [1, count].includes(tf.util.sizeFromShape(own)))) return stock(args);
    return composed<tf.NamedAttrMap>((inputs, attrs) => {
      const wide = (x: tf.Tensor) => tf.broadcastTo(x, [...batch, ...x.shape.slice(-2)]);
      return tf.engine().runKernel("BatchMatMul", { a: wide(inputs.a!), b: wide(inputs.b!) }, attrs) as tf.Tensor;
    })(args);
  });
}

/** Stock wasm has none; the others are wrong where an index of one operand is summed away, and multiply without matMul. */
const einsum = composed<{ equation: string }>((inputs, { equation }) => {
  const operands = Object.values(inputs); // tfjs hands the operands over as a list.
  tf.backend_util.decodeEinsumEquation(equation, operands.length); // Throws what is wrong with it.
  const { inputs: labels, output } = parseEinsum(equation);
  return contract(
    operands.map((tensor, i) => ({ tensor, labels: labels[i]! })),
    output,
  );
});

function replaceEinsum(backendName: string): void {
  addKernel("Einsum", backendName, einsum);
  wrapKernel("Einsum", backendName, () => einsum);
}

/** Repairs that every backend written in JavaScript or C++ for tfjs needs; tfjs-node calls TensorFlow's own kernels. */
export function repairEveryBackend(backendName: string): void {
  if (backendName !== "tensorflow") {
    replaceEinsum(backendName);
    repairAvgPoolGrad(backendName);
  }
  normaliseScanAxis(backendName);
  broadcastBatches(backendName);
}

/** The cpu kernel writes its result into the tensor that it was given. */
export function repairCpu(): void {
  wrapKernel("TensorScatterUpdate", "cpu", (stock) => ({ inputs, attrs, backend }) => {
    const { tensor } = inputs as { tensor: tf.Tensor };
    const copy = tf.tensor(tensor.dataSync().slice(), tensor.shape, tensor.dtype);
    const result = stock({ inputs: { ...inputs, tensor: copy }, ...(attrs && { attrs }), backend });
    copy.dispose();
    return result;
  });
}

/** The reverse scan bakes the axis' length into a shader that is cached without it: the second length comes out wrong. */
export function repairWebgpu(): void {
  for (const kernelName of ["Cumsum", "Cumprod"]) {
    wrapKernel(kernelName, "webgpu", (stock) => (args) => {
      const { axis, exclusive, reverse } = args.attrs as { axis: number; exclusive: boolean; reverse: boolean };
      if (!reverse) return stock(args);
      return composed((inputs) => {
        const reversed = tf.reverse(inputs.x!, axis);
        const scan = kernelName === "Cumsum" ? tf.cumsum : tf.cumprod;
        return tf.reverse(scan(reversed, axis, exclusive, false), axis);
      })(args);
    });
  }
}
