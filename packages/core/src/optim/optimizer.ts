import * as tf from "@tensorflow/tfjs";
import { assertSameStructure, type Tree, treeEntries, treeLeaves, treeMap } from "../tree.ts";
import { clipCoefficient, globalNorm } from "./clip.ts";
import { checkNotNegative, checkPositive } from "./option-checks.ts";
import { groupParams, groupSize, joinVectors, splitVector } from "./param-groups.ts";

/** What every optimizer carries from step to step: a tree of float32 tensors, saved and restored like any other. */
export interface OptimizerState {
  /** Read at every update; a training loop with a schedule replaces it before each step. */
  readonly learningRate: tf.Scalar;
}

/** What an update returns. No tensor of it is shared with the arguments, which may be disposed of. */
export interface OptimizerUpdate<P, S> {
  readonly params: P;
  readonly state: S;
  /** Global norm of the gradients before clipping; there only if the optimizer has a `maxGradNorm`. */
  readonly gradNorm?: tf.Scalar;
}

/** A pair of pure functions over trees, written in plain tfjs ops, so that they run inside `engine.compile`. */
export interface Optimizer<S extends OptimizerState = OptimizerState> {
  readonly name: string;
  /** The state before the first step. Throws if a parameter is not float32. */
  init(params: Tree): S;
  /** One step. `grads` has the structure of `params`. Throws if structures or shapes differ. */
  update<P extends Tree>(grads: P, state: S, params: P): OptimizerUpdate<P, S>;
}

/** Chooses parameters by their dotted path, such as `h.0.ln_1.weight`, or by their shape. */
export type ParamFilter = (path: string, param: tf.Tensor) => boolean;

/** Options of every optimizer. */
export interface OptimizerOptions {
  /** Initial value of the state's leaf `learningRate`; not negative. */
  learningRate: number;
  /** Strength of the pull towards zero; not negative, 0 by default. */
  weightDecay?: number | undefined;
  /** Which parameters decay; all of them by default, as in PyTorch. `decayMatrices` spares biases and norms. */
  decayMask?: ParamFilter | undefined;
  /** Gradients whose global norm is above this are shortened to it; no limit by default. */
  maxGradNorm?: number | undefined;
  /** Parameters for which this is false are left alone: neither stepped, nor decayed, nor given running averages. */
  trainable?: ParamFilter | undefined;
}

/** A `decayMask` for weights of rank 2 and more: biases, norms' gains and other vectors do not decay. */
export const decayMatrices: ParamFilter = (_path, param) => param.rank >= 2;

/** Running averages and the like, one vector for each group of parameters, which stand side by side in it in their order. */
export type SlotVectors = readonly tf.Tensor1D[];

type Scalars<K extends string> = { readonly [name in K]: tf.Scalar };
type Slots<K extends string> = { readonly [name in K]: tf.Tensor };

/** The arithmetic of one optimizer. What all have in common - trees, clipping, decay, checks - is `buildOptimizer`'s. */
export interface UpdateRule<ScalarName extends string, SlotName extends string, C> {
  readonly name: string;
  /** "l2" adds weightDecay * param to the gradient; "decoupled" first multiplies param by 1 - learningRate * weightDecay. */
  readonly decay: "l2" | "decoupled";
  /** Scalars of the state besides `learningRate`, with their initial values. */
  readonly scalars: { readonly [name in ScalarName]: number };
  /** What the state keeps for each element of the parameters, with its value at first. */
  readonly slots: { readonly [name in SlotName]: number };
  /**
   * Once per update: the new scalars, and the coefficients that the tensors share. What can be folded into one number
   * is folded here, since it costs nothing, while every operation in `step` is a pass over the whole model.
   */
  advance(scalars: Scalars<ScalarName>, learningRate: tf.Scalar): { scalars: Scalars<ScalarName>; coefficients: C };
  /** Once per group of parameters, element by element: what to subtract from them, and their new slots. */
  step(grad: tf.Tensor, slots: Slots<SlotName>, coefficients: C): { delta: tf.Tensor; slots: Slots<SlotName> };
}

/** Makes an optimizer of an update rule. */
export function buildOptimizer<
  S extends OptimizerState,
  ScalarName extends string = string,
  SlotName extends string = string,
  C = unknown,
>(rule: UpdateRule<ScalarName, SlotName, C>, options: OptimizerOptions): Optimizer<S> {
  const { learningRate, weightDecay = 0, decayMask, maxGradNorm, trainable } = options;
  const { name } = rule;
  checkNotNegative(name, "learningRate", learningRate);
  checkNotNegative(name, "weightDecay", weightDecay);
  if (maxGradNorm !== undefined) checkPositive(name, "maxGradNorm", maxGradNorm);
  const scalarNames = Object.keys(rule.scalars) as ScalarName[];
  const slotNames = Object.keys(rule.slots) as SlotName[];
  const trained = (params: Tree) =>
    treeEntries(params).filter(([path, param]) => trainable === undefined || trainable(path, param));
  const decays: ParamFilter = (path, param) => weightDecay > 0 && (decayMask === undefined || decayMask(path, param));

  function init(params: Tree): S {
    checkParams(`${name}.init`, params);
    return tf.tidy(() => {
      const state: Record<string, unknown> = { learningRate: tf.scalar(learningRate) };
      for (const key of scalarNames) state[key] = tf.scalar(rule.scalars[key]);
      const groups = groupParams(trained(params));
      for (const key of slotNames) state[key] = groups.map((group) => tf.fill([groupSize(group)], rule.slots[key]));
      return state as tf.TensorContainerObject;
    }) as unknown as S;
  }

  function update<P extends Tree>(grads: P, state: S, params: P): OptimizerUpdate<P, S> {
    const caller = `${name}.update`;
    checkParams(caller, params);
    checkGrads(caller, grads, params);
    const old = state as unknown as Scalars<ScalarName>;
    const groups = groupParams(trained(params));
    const oldSlots = slotNames.map((key) => slotVectors(caller, state, key, groups.map(groupSize)));
    return tf.tidy(() => {
      const gradAt = new Map(treeEntries(grads));
      const vectors = groups.map((group) => joinVectors(group.map(([path]) => gradAt.get(path)!)));
      const gradNorm = maxGradNorm === undefined ? undefined : globalNorm(vectors);
      const clip = gradNorm && maxGradNorm !== undefined ? clipCoefficient(gradNorm, maxGradNorm) : undefined;
      const { scalars, coefficients } = rule.advance(old, state.learningRate);
      const l2 = tf.scalar(weightDecay);
      const keepFraction = tf.scalar(1).sub(state.learningRate.mul(weightDecay));

      const newSlots = slotNames.map((): tf.Tensor[] => []);
      const steppedAt = new Map<string, tf.Tensor>();
      for (const [n, group] of groups.entries()) {
        // One scope per group: eager engines then hold the intermediates of one of them at a time, not of all.
        const { next, slots } = tf.tidy(() => {
          let grad: tf.Tensor = vectors[n]!;
          if (clip) grad = grad.mul(clip);
          const decayed = group.map(([path, param]) => decays(path, param));
          if (rule.decay === "l2" && decayed.includes(true)) {
            const pull = group.map(([, param], i) => (decayed[i] ? param.mul(l2) : tf.zerosLike(param)));
            grad = grad.add(joinVectors(pull));
          }
          const before = Object.fromEntries(slotNames.map((key, i) => [key, oldSlots[i]![n]!])) as Slots<SlotName>;
          const stepped = rule.step(grad, before, coefficients);
          const deltas = splitVector(stepped.delta, group);
          const next = group.map(([, param], i) => {
            const start = decayed[i] && rule.decay === "decoupled" ? param.mul(keepFraction) : param;
            return start.sub(deltas[i]!);
          });
          return { next, slots: stepped.slots as Record<SlotName, tf.Tensor> };
        });
        for (const [i, [path]] of group.entries()) steppedAt.set(path, next[i]!);
        for (const [i, key] of slotNames.entries()) newSlots[i]!.push(slots[key]);
      }

      const newState: Record<string, unknown> = { learningRate: state.learningRate.clone() };
      for (const key of scalarNames) newState[key] = scalars[key];
      for (const [i, key] of slotNames.entries()) newState[key] = newSlots[i];
      const newParams = treeMap(params, (param, path) => steppedAt.get(path) ?? param.clone());
      const result = { params: newParams, state: newState, ...(gradNorm && { gradNorm }) };
      return result as unknown as tf.TensorContainerObject;
    }) as unknown as OptimizerUpdate<P, S>;
  }

  return { name, init, update };
}

function slotVectors(caller: string, state: OptimizerState, key: string, sizes: readonly number[]): SlotVectors {
  const vectors = (state as unknown as Record<string, unknown>)[key];
  if (vectors === undefined) throw new Error(`${caller}: state has no '${key}'; expected a state made by init`);
  const found = treeLeaves(vectors).map(({ shape }) => shape);
  if (found.length !== sizes.length || found.some((shape, i) => shape.length !== 1 || shape[0] !== sizes[i])) {
    const list = found.map((shape) => `[${shape}]`).join(", ");
    throw new Error(
      `${caller}: state.${key} has tensors of shapes ${list || "(none)"}; expected ${sizes.map((n) => `[${n}]`).join(", ") || "none"}, as init makes them for these params`,
    );
  }
  return vectors as SlotVectors;
}

/** Throws unless every tensor of `params` is float32 and has a path of its own. */
export function checkParams(caller: string, params: Tree): void {
  const paths = new Set<string>();
  for (const [path, { dtype }] of treeEntries(params)) {
    if (paths.has(path))
      throw new Error(`${caller}: two parameters have the path '${path}'; expected one (rename a key)`);
    paths.add(path);
    if (dtype === "float32") continue;
    throw new Error(`${caller}: parameter '${path}' is ${dtype}; expected float32 (keep other tensors out of params)`);
  }
}

/** Throws unless `grads` has the structure and the shapes of the parameters: a broadcast would go unnoticed. */
export function checkGrads(caller: string, grads: Tree, params: Tree, what = "gradient"): void {
  assertSameStructure(caller, params, grads);
  const ofParams = treeEntries(params);
  for (const [i, [path, { shape }]] of treeEntries(grads).entries()) {
    const expected = ofParams[i]![1].shape;
    if (shape.length === expected.length && shape.every((n, axis) => n === expected[axis])) continue;
    throw new Error(`${caller}: ${what} '${path}' has shape [${shape}]; expected the parameter's, [${expected}]`);
  }
}
