import {
  type CodeBits,
  FormatError,
  fromRoundedMatrix,
  GROUP_SIZES,
  type GroupSize,
  isConvertedMatrix,
  isTensor,
  type MatrixLayout,
  plainWeights,
  type SafetensorsFile,
  type TensorData,
  type TensorInfo,
  type Tree,
  throwIfAborted,
  toRoundedMatrix,
  treeDispose,
  treeFreeze,
  treeMap,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import { withConvertedParams } from "../converted-lm.ts";
import { toBiases, toZeroPoints } from "./affine-groups.ts";
import { type Architecture, paramShapes } from "./architecture.ts";
import type { PublishedConfig } from "./config-fields.ts";
import { type ModelSource, type OpenModelOptions, openModelFolder, writeModelFolder } from "./model-folder.ts";
import {
  ARCHITECTURES,
  type ArchitectureName,
  architectureOf,
  encodeModel,
  matchNames,
  type PretrainedModel,
  pretrainedLm,
  type SavePretrainedOptions,
  withModelType,
} from "./pretrained.ts";

// Causal models whose matrices are rounded, in files, in the layout of Apple's MLX. config.json has
//
//   "quantization": { "group_size": 64, "bits": 4 }
//
// and in it the name of each layer that is rounded otherwise, with its own. The matrix NAME.weight of a layer with N outputs and K
// inputs, S of which (group_size) share a scale, becomes three tensors:
//
//   NAME.weight   U32 [N, K bits / 32], codes, the first in the lowest bits
//   NAME.scales   float [N, K / S]
//   NAME.biases   float [N, K / S], of what is rounded here always -2^(bits - 1) scale
//
// of which a weight is scale code + bias. Tables that are [in, out] otherwise, as GPT-2's, are [out, in] as all others.
//
//   A. Hannun et al., "MLX: Efficient and flexible machine learning on Apple silicon", 2023

/** How a layer is rounded. */
interface Rounding {
  readonly bits: CodeBits;
  readonly groupSize: GroupSize;
}

/** A model with rounded weights: what `convertLm` gives, and what it was made of. */
export interface ConvertedModel {
  readonly architecture: ArchitectureName;
  readonly config: PretrainedModel["config"];
  /** With converted matrices. */
  readonly params: Tree;
  /** The fields of its config.json, if it was loaded. */
  readonly published?: PublishedConfig;
}

/**
 * Writes a model with rounded weights, as `convertLm` gives them, as a folder that `loadConverted` reads (Node): config.json and
 * model.safetensors, with the codes as they are. What is not rounded is written as by `savePretrained`, panels as the matrices
 * that they stand for.
 *
 * @param options.dtype of the scales and of what is not rounded; with F32, the default, what is read is what was written
 * @throws if nothing is rounded, or the configuration has no published counterpart
 */
export async function saveConverted(
  folder: string,
  model: ConvertedModel,
  options: SavePretrainedOptions = {},
): Promise<void> {
  const { entries, roundings, made } = await entriesOf(model.params);
  try {
    if (roundings.size === 0) {
      throw new Error(
        "saveConverted: no matrix is in 8 or 4 bits; expected rounded ones, or savePretrained for others",
      );
    }
    await writeModelFolder(
      "saveConverted",
      folder,
      encodeModel(model, entries, { quantization: sectionOf(model, roundings) }, options),
    );
  } finally {
    treeDispose(made);
  }
}

interface Entries {
  readonly entries: (readonly [path: string, value: tf.Tensor | TensorData])[];
  /** Of each rounded layer, by its path. */
  readonly roundings: Map<string, Rounding>;
  /** Tensors that were made for the file. */
  readonly made: tf.Tensor[];
}

async function entriesOf(params: Tree): Promise<Entries> {
  const found: Entries = { entries: [], roundings: new Map(), made: [] };
  const walk = async (node: Tree, path: string): Promise<void> => {
    if (isTensor(node)) found.entries.push([path, node]);
    else if (isConvertedMatrix(node) && node.converted !== "panels") {
      const { bits, groupSize, codes, size, ...groups } = await toRoundedMatrix(node);
      const [outputs, inputs] = size;
      const shape = [outputs, inputs / groupSize];
      const layer = layerOf(path);
      found.roundings.set(layer, { bits, groupSize });
      found.entries.push(
        [path, { dtype: "U32", shape: [outputs, (inputs * bits) / 32], data: codes }],
        ...(["scales", "biases"] as const).map((name) => {
          const tensor = tf.tensor(name === "scales" ? groups.scales : toBiases(groups, bits), shape);
          found.made.push(tensor);
          return [`${layer}.${name}`, tensor] as const;
        }),
      );
    } else if (isConvertedMatrix(node)) {
      const tensor = tf.tidy(() => plainWeights<{ whole: tf.Tensor2D }>({ whole: node }).whole);
      found.made.push(tensor);
      found.entries.push([path, tensor]);
    } else if (Array.isArray(node)) {
      for (const [i, child] of node.entries()) await walk(child, join(path, i));
    } else if (typeof node === "object" && node !== null) {
      for (const [key, child] of Object.entries(node)) await walk(child as Tree, join(path, key));
    }
  };
  try {
    await walk(params, "");
  } catch (error) {
    treeDispose(found.made);
    throw error;
  }
  return found;
}

const join = (path: string, key: string | number): string => (path === "" ? `${key}` : `${path}.${key}`);

function layerOf(path: string): string {
  if (path.endsWith(".weight")) return path.slice(0, -".weight".length);
  throw new Error(
    `saveConverted: the rounded matrix ${path} is no layer's weight; expected a path that ends in .weight`,
  );
}

/** How most layers are rounded, and the others by their names. */
function sectionOf({ architecture, config }: ConvertedModel, layers: ReadonlyMap<string, Rounding>): PublishedConfig {
  const { nameOf } = ARCHITECTURES[architecture] as Architecture<typeof config>;
  const most = mostFrequent([...layers.values()]);
  const others = [...layers].filter(([, rounding]) => !sameRounding(rounding, most));
  const entryOf = ({ bits, groupSize }: Rounding) => ({ group_size: groupSize, bits });
  return {
    ...entryOf(most),
    ...Object.fromEntries(
      others.map(([layer, rounding]) => [
        nameOf(`${layer}.weight`, config).replace(/\.weight$/, ""),
        entryOf(rounding),
      ]),
    ),
  };
}

const sameRounding = (a: Rounding, b: Rounding) => a.bits === b.bits && a.groupSize === b.groupSize;

function mostFrequent(roundings: readonly Rounding[]): Rounding {
  const count = (rounding: Rounding) => roundings.filter((other) => sameRounding(other, rounding)).length;
  return roundings.reduce((most, rounding) => (count(rounding) > count(most) ? rounding : most));
}

export interface LoadedConverted extends ConvertedModel {
  readonly lm: CausalLm;
  /** Of most of its rounded matrices. */
  readonly bits: CodeBits;
  /** Of the model as it was. */
  readonly countParams: number;
}

/**
 * Loads a causal model that `saveConverted` wrote, or that MLX's tools rounded to 4 or 8 bits in groups of 32, 64 or 128. Rounded
 * matrices stay rounded: at no time is there one in float32.
 *
 * @param source as for `loadPretrained`
 * @throws FormatError if config.json has no such quantization, if weights and config.json do not fit (all that is missing, not
 *   expected, of another shape or of another type is listed), or if biases are no multiples of their scales
 */
export async function loadConverted(source: ModelSource, options: OpenModelOptions = {}): Promise<LoadedConverted> {
  const caller = "loadConverted";
  const { name, config: published, weights } = await openModelFolder(source, caller, options);
  try {
    const where = `${caller}: config.json of ${name}`;
    const { quantization, ...rest } = published;
    const plain = withoutCopy(rest, quantization);
    const section = readSection(quantization, where);
    const named = withModelType(plain);
    const architecture = architectureOf(named, where);
    const { read, pathOf, makeParams } = ARCHITECTURES[architecture] as Architecture<PretrainedModel["config"]>;
    const has = (tensor: string) => weights.tensors.has(tensor);
    const config = read(named, where, new Map());
    const { lm, template, shapes } = modelOf({ architecture, config }, makeParams);
    const pathOfName = (tensor: string) => pathOf(tensor, config as { tieWordEmbeddings?: boolean }, has);
    const view = roundedView(`${caller}: the weights of ${name}`, weights, section, (tensor) => {
      const path = pathOfName(tensor);
      return path === undefined ? undefined : lm.matrixLayout?.(path);
    });
    const names = matchNames(`${caller}: the weights of ${name}`, view.weights, shapes, pathOfName);
    const loaded = new Map<string, Tree>();
    try {
      for (const [path, tensor] of names) {
        throwIfAborted(caller, options.signal);
        loaded.set(path, view.rounded.has(tensor) ? await view.read(tensor) : await weights.tensor(tensor));
      }
    } catch (error) {
      treeDispose([...loaded.values()]);
      throw error;
    }
    const params = treeFreeze(treeMap(template, (_, path) => loaded.get(path)));
    const countParams = [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
    return {
      architecture,
      config,
      params,
      published: plain,
      lm: withConvertedParams(lm),
      bits: section.most.bits,
      countParams,
    };
  } finally {
    await weights.close();
  }
}

function modelOf(
  model: Pick<PretrainedModel, "architecture" | "config">,
  makeParams: Architecture<PretrainedModel["config"]>["makeParams"],
) {
  const lm = pretrainedLm(model as PretrainedModel);
  return { lm, ...paramShapes((make) => makeParams(model.config, make)) };
}

/** MLX writes the section twice, the second time under the name that other libraries use for roundings of theirs. */
function withoutCopy(published: PublishedConfig, quantization: unknown): PublishedConfig {
  const { quantization_config: copy, ...rest } = published;
  return JSON.stringify(copy) === JSON.stringify(quantization) ? rest : published;
}

interface Section {
  /** Of all layers but the others. */
  readonly most: Rounding;
  /** Of single layers, by the names in the file. */
  readonly others: ReadonlyMap<string, Rounding>;
}

function readSection(section: unknown, where: string): Section {
  if (!isJsonRecord(section)) {
    throw new FormatError(
      `${where}: quantization is ${JSON.stringify(section) ?? "missing"}; expected a record with group_size and bits. ` +
        "loadPretrained opens models whose weights are not rounded",
    );
  }
  const { group_size: groupSize, bits, mode = "affine", ...layers } = section;
  if (mode !== "affine")
    throw new FormatError(`${where}: quantization.mode is ${JSON.stringify(mode)}; expected "affine"`);
  const roundingOf = (what: string, size: unknown, bits: unknown): Rounding => {
    const groupSize = GROUP_SIZES.find((known) => known === size);
    if (groupSize === undefined) {
      throw new FormatError(
        `${where}: ${what}.group_size is ${JSON.stringify(size)}; expected one of ${GROUP_SIZES.join(", ")}`,
      );
    }
    if (bits !== 4 && bits !== 8) {
      throw new FormatError(`${where}: ${what}.bits is ${JSON.stringify(bits)}; expected 4 or 8`);
    }
    return { bits, groupSize };
  };
  const others = Object.entries(layers).flatMap(([layer, entry]): [string, Rounding][] => {
    const what = `quantization[${JSON.stringify(layer)}]`;
    // So MLX says that a layer is not rounded, which shows in its tensors.
    if (entry === false) return [];
    if (!isJsonRecord(entry)) {
      throw new FormatError(
        `${where}: ${what} is ${JSON.stringify(entry)}; expected a record with group_size and bits, or false`,
      );
    }
    return [[layer, roundingOf(what, entry.group_size, entry.bits)]];
  });
  return { most: roundingOf("quantization", groupSize, bits), others: new Map(others) };
}

const isJsonRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

interface RoundedView {
  /** The file as if it held the matrices. */
  readonly weights: SafetensorsFile;
  /** The names of those that are rounded. */
  readonly rounded: ReadonlySet<string>;
  readonly read: (name: string) => Promise<Tree>;
}

/** @throws listing all rounded matrices whose parts do not fit together */
function roundedView(
  where: string,
  weights: SafetensorsFile,
  section: Section,
  layoutOf: (name: string) => MatrixLayout | undefined,
): RoundedView {
  const tensors = new Map<string, TensorInfo>(weights.tensors);
  const rounded = new Map<string, { rounding: Rounding; layout: MatrixLayout; size: [number, number] }>();
  const problems: string[] = [];
  for (const name of weights.tensors.keys()) {
    if (!name.endsWith(".scales")) continue;
    const layer = name.slice(0, -".scales".length);
    const [weight, biases] = [`${layer}.weight`, `${layer}.biases`];
    const parts = [weight, name, biases].map((part) => weights.tensors.get(part));
    const rounding = section.others.get(layer) ?? section.most;
    const layout = layoutOf(weight);
    const problem = partsProblem(parts, rounding) ?? (layout ? undefined : "is no matrix of the model");
    if (problem !== undefined) {
      problems.push(`${layer} ${problem}`);
      continue;
    }
    const [outputs, blocks] = parts[1]!.shape as [number, number];
    const size: [number, number] = [outputs, blocks * rounding.groupSize];
    rounded.set(weight, { rounding, layout: layout!, size });
    tensors.delete(name);
    tensors.delete(biases);
    tensors.set(weight, { ...parts[0]!, dtype: "F32", shape: layout === "out-in" ? size : [size[1], size[0]] });
  }
  for (const layer of section.others.keys()) {
    if (!weights.tensors.has(`${layer}.scales`)) problems.push(`${layer} has bits in config.json, and no scales`);
  }
  if (problems.length > 0) {
    const shown = problems.slice(0, 200);
    const more = problems.length > shown.length ? `\n  and ${problems.length - shown.length} more` : "";
    throw new FormatError(`${where} hold rounded matrices that do not fit:\n  ${shown.join("\n  ")}${more}`);
  }
  return {
    weights: { ...weights, tensors },
    rounded: new Set(rounded.keys()),
    async read(name) {
      const { rounding, layout, size } = rounded.get(name)!;
      const layer = name.slice(0, -".weight".length);
      const { data } = await weights.read(name);
      const [scales, biases] = await Promise.all(
        ["scales", "biases"].map(async (part) => {
          const tensor = await weights.tensor(`${layer}.${part}`);
          try {
            return (await tensor.data()).slice() as Float32Array;
          } finally {
            tensor.dispose();
          }
        }),
      );
      const { dtype } = weights.tensors.get(`${layer}.scales`)!;
      const parts = { ...rounding, codes: data as Uint32Array, scales: scales!, biases: biases!, dtype };
      const groups = toZeroPoints(`${where}: ${layer}`, parts);
      return fromRoundedMatrix({ ...rounding, ...groups, layout, size });
    },
  };
}

/** What is wrong with codes, scales and biases. */
function partsProblem(
  [codes, scales, biases]: readonly (TensorInfo | undefined)[],
  { bits, groupSize }: Rounding,
): string | undefined {
  if (!codes || !biases) return `has scales, but no ${codes ? "biases" : "weight"}`;
  if (codes.dtype !== "U32") return `has codes of type ${codes.dtype}, expected U32`;
  for (const part of [scales!, biases]) {
    if (!["F32", "F16", "BF16"].includes(part.dtype))
      return `has scales or biases of type ${part.dtype}, expected F32, F16 or BF16`;
  }
  const [outputs, blocks] = scales!.shape;
  if (scales!.shape.length !== 2 || !(outputs! > 0) || !(blocks! > 0))
    return `has scales [${scales!.shape}], expected two sizes`;
  if (`${biases.shape}` !== `${scales!.shape}`)
    return `has scales [${scales!.shape}] and biases [${biases.shape}], expected one shape`;
  const want = [outputs, (blocks! * groupSize * bits) / 32];
  return `${codes.shape}` === `${want}`
    ? undefined
    : `has codes [${codes.shape}] with scales [${scales!.shape}], expected [${want}] for ${bits} bits and groups of ${groupSize}`;
}
