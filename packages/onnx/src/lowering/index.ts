import { convolutions } from "./convolution.ts";
import { decoding } from "./decoding.ts";
import { elementwise } from "./elementwise.ts";
import { fusedKernels } from "./fused.ts";
import { linearAlgebra } from "./linear-algebra.ts";
import type { LoweringTable } from "./lowering.ts";
import { pooling } from "./pooling.ts";
import { reductions } from "./reduction.ts";
import { shapes } from "./shape.ts";
import { weights } from "./weights.ts";

/** Every tfjs kernel that can be compiled, with the ONNX operators that it becomes. */
export const lowerings: LoweringTable = {
  ...elementwise,
  ...reductions,
  ...shapes,
  ...linearAlgebra,
  ...convolutions,
  ...pooling,
  ...fusedKernels,
  ...decoding,
  ...weights,
};
