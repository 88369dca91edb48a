import * as tf from "@tensorflow/tfjs";
import type { Tree } from "../tree.ts";
import { type CodeBits, GROUP_SIZES, type GroupSize } from "./blocks.ts";
import type { ConvertedMatrix } from "./convert-weights.ts";
import type { MatrixLayout } from "./panels.ts";

// Rounded matrices as files hold them, which does not change with the form that they have in memory.

/** N outputs, K inputs, S inputs that share a scale and a zero point: w = (code - zero point) scale. */
export interface RoundedMatrix {
  readonly bits: CodeBits;
  readonly groupSize: GroupSize;
  /** Of the matrix that it stands for. */
  readonly layout: MatrixLayout;
  /** [N, K bits / 32], the first code in the lowest bits of a word */
  readonly codes: Uint32Array;
  /** [N, K / S] */
  readonly scales: Float32Array;
  /** [N, K / S], each a code; without them all are 2^(bits - 1) */
  readonly zeroPoints?: Uint8Array;
  /** N and K. */
  readonly size: readonly [outputs: number, inputs: number];
}

/** The codes of a rounded matrix. */
export async function toRoundedMatrix(matrix: ConvertedMatrix): Promise<RoundedMatrix> {
  if (matrix.converted === "panels") {
    throw new Error("toRoundedMatrix: the matrix is held in panels of float32; expected one in 8 or 4 bits");
  }
  const { layout, units, scales, zeroPoints } = matrix;
  const words = (await units.data()) as Int32Array;
  const [outputs, blocks, wordsPerBlock] = units.shape;
  const bits = matrix.converted === "int8" ? 8 : 4;
  const groupSize = ((wordsPerBlock * 32) / bits) as GroupSize;
  return {
    bits,
    groupSize,
    layout,
    codes: new Uint32Array(words.buffer, words.byteOffset, words.length),
    scales: (await scales.data()) as Float32Array,
    ...(zeroPoints && { zeroPoints: Uint8Array.from(await zeroPoints.data()) }),
    size: [outputs, blocks * groupSize],
  };
}

/** A rounded matrix as a part of a converted tree; takes over the arrays. */
export function fromRoundedMatrix({ bits, groupSize, layout, codes, scales, zeroPoints, size }: RoundedMatrix): Tree {
  const [outputs, inputs] = size;
  const blocks = inputs / groupSize;
  const words = (inputs * bits) / 32;
  if (!GROUP_SIZES.includes(groupSize)) {
    throw new Error(`fromRoundedMatrix: groupSize (${groupSize}); expected ${GROUP_SIZES.join(", ")}`);
  }
  if (!Number.isInteger(blocks) || codes.length !== outputs * words || scales.length !== outputs * blocks) {
    throw new Error(
      `fromRoundedMatrix: ${codes.length} words of codes and ${scales.length} scales for ${outputs} outputs and ${inputs} ` +
        `inputs of ${bits} bits; expected ${outputs * words} and ${outputs * blocks}, inputs in multiples of ${groupSize}`,
    );
  }
  if (zeroPoints && zeroPoints.length !== scales.length) {
    throw new Error(
      `fromRoundedMatrix: ${zeroPoints.length} zero points for ${scales.length} scales; expected as many`,
    );
  }
  const largest = 2 ** bits - 1;
  const beyond = zeroPoints?.find((zero) => zero > largest);
  if (beyond !== undefined) {
    throw new Error(`fromRoundedMatrix: the zero point ${beyond} in ${bits} bits; expected at most ${largest}`);
  }
  const units = new Int32Array(codes.buffer, codes.byteOffset, codes.length);
  return {
    converted: bits === 8 ? "int8" : "int4",
    layout,
    units: tf.tensor(units, [outputs, blocks, words / blocks], "int32") as tf.Tensor3D,
    scales: tf.tensor(scales, [outputs, blocks]) as tf.Tensor2D,
    ...(zeroPoints && {
      zeroPoints: tf.tensor(Int32Array.from(zeroPoints), [outputs, blocks], "int32") as tf.Tensor2D,
    }),
  };
}
