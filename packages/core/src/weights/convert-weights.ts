import * as tf from "@tensorflow/tfjs";
import type { Engine } from "../engine/engine.ts";
import { fusedOp } from "../nn/fused.ts";
import { isRecord, isTensor, type Tree, treeDispose, treeFreeze, treeMap } from "../tree.ts";
import { type Blocks, fromBlocks, GROUP_SIZES, type GroupSize, MIN_GROUP_SIZE, toBlocks } from "./blocks.ts";
import { gptqBlocks } from "./gptq.ts";
import { fromPanels, type MatrixData, type MatrixLayout, toPanels } from "./panels.ts";

// Parameters whose matrices are held in another form, for inference. A converted tree is a tree like any other; inside a
// compiled function `plainWeights` gives the matrices back, and engines that know the forms multiply with them directly.

/**
 * How matrices are held: `panels` are float32, ordered for decoding; `int8` and `int4` are rounded, a quarter and an eighth
 * of the size, plus a scale for each group of inputs.
 */
export type WeightFormat = "panels" | "int8" | "int4";

/** What stands in the place of a matrix. */
export type ConvertedMatrix =
  | { readonly converted: "panels"; readonly outputs: number; readonly layout: MatrixLayout; panels: tf.Tensor3D }
  | ({ readonly converted: "int8" | "int4"; readonly layout: MatrixLayout } & Blocks);

/** Whether a part of a converted tree stands for a matrix, and is no record of others. */
export function isConvertedMatrix(node: Tree): node is ConvertedMatrix {
  return typeof node === "object" && node !== null && "converted" in node;
}

export interface ConvertWeightsOptions {
  readonly format: WeightFormat;
  /** Which tensors are matrices of linear layers, and which way round; the others stay as they are. */
  readonly layoutOf: (path: string, tensor: tf.Tensor) => MatrixLayout | undefined;
  /** Overrides the format of single matrices, for instance that of the head; undefined leaves a matrix as it is. */
  readonly formatOf?: (path: string, format: WeightFormat) => WeightFormat | undefined;
  /**
   * How many inputs share a scale, if a matrix's inputs are a multiple of that; else half or a quarter as many. Default 128
   * in 8 bits, where that costs no accuracy and is faster, and 64 in 4.
   */
  readonly groupSize?: GroupSize;
  /** What the layers read, by which matrices are then rounded (GPTQ): see `Calibration`. */
  readonly calibration?: Calibration;
  /** Disposes of every tensor of the original as soon as it is converted, so that memory holds one model only. */
  readonly consume?: boolean;
}

/**
 * Rounding by what layers read (GPTQ, Frantar et al. 2023, arXiv:2210.17323): a matrix's columns are rounded one after another, and each
 * makes up for what the ones before it have lost, so that the layer's results on a text change little.
 */
export interface Calibration {
  /** Computes the products. */
  readonly engine: Engine;
  /** The sum of x x^T [K, K] over the inputs x [K] of a matrix's layer; without one, each weight is rounded to the nearest code. */
  readonly gramOf: (path: string) => tf.Tensor2D | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The parameters with their matrices in another form: tensors of their own, with `consume` in the place of the old ones.
 * Matrices that a format cannot hold (rounded ones need inputs in multiples of 32) stay as they are, and so do those that are
 * converted already. The tree is frozen.
 *
 * @throws if the group size is none of 32, 64 and 128, or weights to be rounded or what their layers read are NaN or infinite
 */
export async function convertWeights(params: Tree, options: ConvertWeightsOptions): Promise<Tree> {
  const { format, layoutOf, formatOf = (_, f) => f, groupSize, calibration, consume = false } = options;
  if (groupSize !== undefined && !GROUP_SIZES.includes(groupSize)) {
    throw new Error(`convertWeights: groupSize is ${groupSize}; expected one of ${GROUP_SIZES.join(", ")}`);
  }
  const made: Tree[] = [];
  const keepCopy = (tree: Tree): Tree => {
    made.push(treeMap(tree, (tensor) => tensor.clone()));
    return made.at(-1);
  };
  const convert = async (tensor: tf.Tensor, path: string): Promise<Tree> => {
    const layout = tensor.rank === 2 ? layoutOf(path, tensor) : undefined;
    const form = layout && formatOf(path, format);
    if (!layout || !form || (form !== "panels" && inputsOf(tensor, layout) % MIN_GROUP_SIZE !== 0)) {
      return consume ? tensor : keepCopy(tensor);
    }
    const matrix = { values: (await tensor.data()) as Float32Array, shape: tensor.shape as [number, number] };
    const converted = await convertMatrix(matrix, form, layout, groupSize ?? DEFAULT_GROUP[form], path, calibration);
    made.push(converted);
    if (consume) tensor.dispose();
    return converted;
  };
  const walk = async (node: Tree, path: string): Promise<Tree> => {
    if (isTensor(node)) return convert(node, path);
    const at = (key: string | number) => (path === "" ? `${key}` : `${path}.${key}`);
    if (Array.isArray(node)) {
      const children: Tree[] = [];
      for (const [i, child] of node.entries()) children.push(await walk(child, at(i)));
      return children;
    }
    if (!isRecord(node)) return node;
    if (isConvertedMatrix(node)) return consume ? node : keepCopy(node);
    const record: Record<string, Tree> = {};
    for (const [key, child] of Object.entries(node)) record[key] = await walk(child, at(key));
    return record;
  };
  try {
    return treeFreeze(await walk(params, ""));
  } catch (error) {
    treeDispose(made);
    throw error;
  }
}

const DEFAULT_GROUP = { panels: MIN_GROUP_SIZE, int8: 128, int4: 64 } as const;

async function convertMatrix(
  matrix: MatrixData,
  form: WeightFormat,
  layout: MatrixLayout,
  largest: GroupSize,
  path: string,
  calibration: Calibration | undefined,
): Promise<ConvertedMatrix> {
  const [outputs, inputs] = layout === "out-in" ? matrix.shape : [matrix.shape[1], matrix.shape[0]];
  if (form === "panels") {
    const panels = tf.tensor(toPanels(matrix, layout), [Math.ceil(outputs / 32), inputs, 32]) as tf.Tensor3D;
    return { converted: form, outputs, layout, panels };
  }
  const bits = form === "int8" ? 8 : 4;
  const groupSize = GROUP_SIZES.findLast((size) => size <= largest && inputs % size === 0)!;
  const blocks = inputs / groupSize;
  const what = `convertWeights: ${path} [${matrix.shape}]`;
  const gram = (await calibration?.gramOf(path)?.data()) as Float32Array | undefined;
  const { units, scales } =
    calibration && gram
      ? await gptqBlocks(matrix, bits, layout, groupSize, { ...calibration, gram }, what)
      : toBlocks(matrix, bits, layout, groupSize, what);
  return {
    converted: form,
    layout,
    units: tf.tensor(units, [outputs, blocks, (groupSize * bits) / 32], "int32") as tf.Tensor3D,
    scales: tf.tensor(scales, [outputs, blocks]) as tf.Tensor2D,
  };
}

export interface PlainWeightsOptions {
  /**
   * Lets engines compile what stands beside the matrices, such as norms and biases, into the function. It then has fewer
   * arguments to hand over at each call, and serves calls with these very tensors; others are compiled for anew. Default
   * false.
   */
  readonly constant?: boolean;
}

/** Parameters as a model's functions take them, of a tree that may hold converted matrices. Call it inside a tidy. */
export function plainWeights<P extends Tree>(params: Tree, { constant = false }: PlainWeightsOptions = {}): P {
  const walk = (node: Tree): Tree => {
    if (constant && isTensor(node)) return fusedOp("GenaiConstant", { x: node }, {}, () => node);
    if (Array.isArray(node)) return node.map(walk);
    if (!isRecord(node)) return node;
    if (isConvertedMatrix(node)) return plainMatrix(node);
    return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, walk(child)]));
  };
  return walk(params) as P;
}

/** The matrix that a converted one stands for. Call it inside a tidy. */
export function plainMatrix(matrix: ConvertedMatrix): tf.Tensor2D {
  if (matrix.converted === "panels") return fromPanels(matrix.panels, matrix.outputs, matrix.layout);
  return fromBlocks(matrix, matrix.converted === "int8" ? 8 : 4, matrix.layout);
}

const inputsOf = ({ shape }: tf.Tensor, layout: MatrixLayout): number => shape[layout === "out-in" ? 1 : 0]!;
