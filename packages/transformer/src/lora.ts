import {
  kaimingUniform,
  type LowRankTerm,
  type ParamFilter,
  type Rng,
  type Tree,
  treeEntries,
  treeMap,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "./causal-lm.ts";
import { mapLayers } from "./map-layers.ts";

// Low-rank adaptation: a matrix W of a trained model stays as it is, and the product of two thin matrices that is added to
// it is learned.
//
//   E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv:2106.09685, section 4.1
//
// Shapes: r rank, W [out, in], or [in, out] with fanInFanOut (GPT-2's layout).

export interface LoraConfig {
  /** r */
  readonly rank: number;
  /** The product is scaled by alpha / rank. */
  readonly alpha: number;
  /** Scales by alpha / sqrt(rank) instead, which suits high ranks (Kalajdzievski 2023, arXiv:2312.03732). Default false. */
  readonly rankStabilised?: boolean;
  /** The share of its inputs that an attached adapter drops in training, in [0, 1); default 0. */
  readonly dropout?: number;
  /** Names of layers, whole ("h.0.attn.c_attn") or from a dot on ("c_attn", "attn.c_attn"). */
  readonly targets: readonly string[];
  /** Whether weights are [in, out], as those of GPT-2's blocks are, instead of [out, in]. Default false. */
  readonly fanInFanOut?: boolean;
}

/** The two factors for one matrix; the names are PEFT's. */
export type LoraFactors = {
  lora_A: { weight: tf.Tensor }; // [r, in]
  lora_B: { weight: tf.Tensor }; // [out, r]
};

/** Factors by the path of their layer, such as "h.0.attn.c_attn". */
export type LoraParams = Record<string, LoraFactors>;

/** A model's parameters and an adapter, as the state of training holds them: see `trainsLora`. */
export type LoraTree<P extends Tree = Tree> = { base: P; lora: LoraParams };

/** An adapter for a model's parameters; see `createLora`. */
export interface Lora {
  readonly config: LoraConfig;
  readonly params: LoraParams;
}

/**
 * Creates an adapter: A uniform in +-1/sqrt(in), B zero, so that the adapted model computes what the model does.
 *
 * @param params of the model; read for names and shapes only
 * @throws if rank or alpha are out of range, or a target names no matrix
 */
export function createLora(params: Tree, config: LoraConfig, rng: Rng): Lora {
  checkLoraConfig("createLora", config);
  const { rank, targets, fanInFanOut } = config;
  const matrices = matricesOf(params);
  const isNamed = (layer: string, target: string) => layer === target || layer.endsWith(`.${target}`);
  for (const target of targets) {
    if ([...matrices.keys()].some((layer) => isNamed(layer, target))) continue;
    const names = [...new Set([...matrices.keys()].map((layer) => layer.split(".").at(-1)!))];
    throw new Error(`createLora: target '${target}' names no matrix; there are ${names.join(", ") || "none"}`);
  }
  const adapted = [...matrices].filter(([layer]) => targets.some((target) => isNamed(layer, target)));
  const init = kaimingUniform({ gain: Math.sqrt(1 / 3) });
  const factors = adapted.map(([layer, weight]): [string, LoraFactors] => {
    const { inDim, outDim } = sidesOf(layer, weight, fanInFanOut);
    if (rank > Math.min(inDim, outDim)) {
      throw new Error(`createLora: rank (${rank}) exceeds the sides of ${layer}, ${outDim} x ${inDim}`);
    }
    return [layer, { lora_A: { weight: init([rank, inDim], rng) }, lora_B: { weight: tf.zeros([outDim, rank]) } }];
  });
  return { config, params: Object.fromEntries(factors) };
}

/**
 * The parameters with the adapter beside them: layers compute W x + scale B A x, and W's gradient costs nothing while only
 * the adapter is trained. Call it inside the loss of a model of this package, whose layers read what is attached.
 *
 * @param rng draws the adapter's dropout, in training
 * @throws as `applyLora`
 */
export function attachLora<P extends Tree>(params: P, { config, params: lora }: Lora, rng?: Rng): P {
  checkFits("attachLora", params, { config, params: lora });
  const { dropout = 0 } = config;
  return mapLayers(params, (record, path) => {
    const factors = lora[path];
    if (!factors) return record;
    const lowRank: LowRankTerm = {
      a: factors.lora_A.weight,
      b: factors.lora_B.weight,
      scale: scaleOf(config),
      ...(rng && dropout > 0 ? { dropout, rng } : {}),
    };
    return { ...record, lowRank };
  });
}

/**
 * The parameters with the adapter in them, W + scale B A, for models whose layers know nothing of adapters. Call it inside
 * the loss; gradients flow to both. Tensors that are not adapted are those of `params`.
 *
 * @throws if the adapter names a matrix that is not there, or has other shapes
 */
export function applyLora<P extends Tree>(params: P, lora: Lora): P {
  return adapt("applyLora", params, lora, (tensor) => tensor);
}

/**
 * The parameters with the adapter worked into them, as tensors of their own: a model that needs no adapter any more.
 *
 * @throws as `applyLora`
 */
export function mergeLora<P extends Tree>(params: P, lora: Lora): P {
  return adapt("mergeLora", params, lora, (tensor) => tensor.clone());
}

/** A causal model with an adapter attached, to be trained, and to generate and score meanwhile; merge it to generate much. */
export function loraLm<P extends Tree>(lm: CausalLm<P>, config: LoraConfig): CausalLm<LoraTree<P>> {
  checkLoraConfig("loraLm", config);
  const adapted = ({ base, lora }: LoraTree<P>, rng?: Rng) => attachLora(base, { config, params: lora }, rng);
  return {
    vocabSize: lm.vocabSize,
    blockSize: lm.blockSize,
    logits: (params, ids, options) => lm.logits(adapted(params, options?.rng), ids, options),
    createCache: (...args) => lm.createCache(...args),
    step: (params, ...read) => lm.step(adapted(params), ...read),
  };
}

/** For a `LoraTree`: the adapter is trained and the model is not. Give it to `gradientStep` and to the optimizer. */
export const trainsLora: ParamFilter = (path) => path.startsWith("lora.");

/** @throws naming what is out of range */
export function checkLoraConfig(caller: string, { rank, alpha, targets, dropout = 0 }: LoraConfig): void {
  if (!Number.isInteger(rank) || rank < 1) throw new Error(`${caller}: rank (${rank}) must be a positive integer`);
  if (!(alpha > 0 && Number.isFinite(alpha))) throw new Error(`${caller}: alpha (${alpha}) must be a positive number`);
  if (!(dropout >= 0 && dropout < 1)) throw new Error(`${caller}: dropout (${dropout}) must be in [0, 1)`);
  if (targets.length === 0) throw new Error(`${caller}: targets are empty; expected names of layers`);
}

function adapt<P extends Tree>(caller: string, params: P, lora: Lora, other: (tensor: tf.Tensor) => tf.Tensor): P {
  const { fanInFanOut = false } = lora.config;
  checkFits(caller, params, lora);
  const adapted = () =>
    treeMap(params, (tensor, path) => {
      const factors = lora.params[layerOf(path)];
      if (!factors || !isWeight(path)) return other(tensor);
      const [a, b] = [factors.lora_A.weight as tf.Tensor2D, factors.lora_B.weight as tf.Tensor2D];
      const product = fanInFanOut && !isTable(layerOf(path)) ? tf.matMul(a, b, true, true) : tf.matMul(b, a);
      return tf.add(tensor, tf.mul(product, scaleOf(lora.config)));
    });
  return tf.tidy(() => adapted() as tf.TensorContainer) as P;
}

function checkFits(caller: string, params: Tree, { config, params: lora }: Lora): void {
  const matrices = matricesOf(params);
  const problems: string[] = [];
  for (const [layer, { lora_A, lora_B }] of Object.entries(lora)) {
    const weight = matrices.get(layer);
    if (!weight) {
      problems.push(`${layer} is no matrix of the model`);
      continue;
    }
    const { inDim, outDim } = sidesOf(layer, weight, config.fanInFanOut);
    const got = `[${lora_A.weight.shape}] and [${lora_B.weight.shape}]`;
    const expected = `[${config.rank},${inDim}] and [${outDim},${config.rank}]`;
    if (got !== expected) problems.push(`${layer} has factors ${got}; expected ${expected}`);
  }
  if (problems.length > 0) throw new Error(`${caller}: the adapter does not fit the model: ${problems.join("; ")}`);
}

const scaleOf = ({ rank, alpha, rankStabilised = false }: LoraConfig): number =>
  alpha / (rankStabilised ? Math.sqrt(rank) : rank);
const isWeight = (path: string): boolean => path === "weight" || path.endsWith(".weight");
const layerOf = (path: string): string => path.replace(/\.?weight$/, "");

/** The matrices of layers, by the layer's path. */
function matricesOf(params: Tree): Map<string, tf.Tensor> {
  const matrices = treeEntries(params).filter(([path, tensor]) => isWeight(path) && tensor.rank === 2);
  return new Map(matrices.map(([path, tensor]) => [layerOf(path), tensor]));
}

/** GPT-2's embeddings and head, which unlike the layers of its blocks are [out, in]. */
const isTable = (layer: string): boolean => /(^|\.)(wte|wpe|lm_head)$/.test(layer);

function sidesOf(layer: string, weight: tf.Tensor, fanInFanOut = false): { inDim: number; outDim: number } {
  const [first, second] = weight.shape as [number, number];
  return fanInFanOut && !isTable(layer) ? { inDim: first, outDim: second } : { inDim: second, outDim: first };
}
