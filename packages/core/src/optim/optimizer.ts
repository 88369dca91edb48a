import * as tf from "@tensorflow/tfjs";
import { assertSameStructure, type Tree, treeEntries, treeMap } from "../tree.ts";
import { clipCoefficient, globalNorm } from "./clip.ts";
import { checkNotNegative, checkPositive } from "./option-checks.ts";

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

type Scalars<K extends string> = { readonly [name in K]: tf.Scalar };
type Slots<K extends string> = { readonly [name in K]: tf.Tensor };

/** The arithmetic of one optimizer. What all have in common - trees, clipping, decay, checks - is `buildOptimizer`'s. */
export interface UpdateRule<ScalarName extends string, SlotName extends string, C> {
  readonly name: string;
  /** "l2" adds weightDecay * param to the gradient; "decoupled" first multiplies param by 1 - learningRate * weightDecay. */
  readonly decay: "l2" | "decoupled";
  /** Scalars of the state besides `learningRate`, with their initial values. */
  readonly scalars: { readonly [name in ScalarName]: number };
  /** Tensors of the state for each parameter, with the value that fills them at first. */
  readonly slots: { readonly [name in SlotName]: number };
  /**
   * Once per update: the new scalars, and the coefficients that the tensors share. What can be folded into one number
   * is folded here, since it costs nothing, while every operation in `step` is a pass over the whole model.
   */
  advance(scalars: Scalars<ScalarName>, learningRate: tf.Scalar): { scalars: Scalars<ScalarName>; coefficients: C };
  /** Once per parameter: what to subtract from it, and its new slots. */
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
  const isTrained: ParamFilter = (path, param) => trainable === undefined || trainable(path, param);
  const decays: ParamFilter = (path, param) => weightDecay > 0 && (decayMask === undefined || decayMask(path, param));

  function init(params: Tree): S {
    checkParams(`${name}.init`, params);
    return tf.tidy(() => {
      const state: Record<string, unknown> = { learningRate: tf.scalar(learningRate) };
      for (const key of scalarNames) state[key] = tf.scalar(rule.scalars[key]);
      for (const key of slotNames) {
        state[key] = treeMap(params, (p, path) => (isTrained(path, p) ? tf.fill(p.shape, rule.slots[key]) : null));
      }
      return state as tf.TensorContainerObject;
    }) as unknown as S;
  }

  function update<P extends Tree>(grads: P, state: S, params: P): OptimizerUpdate<P, S> {
    const caller = `${name}.update`;
    checkParams(caller, params);
    checkGrads(caller, grads, params);
    const old = state as unknown as Scalars<ScalarName> & { readonly [key in SlotName]: Tree };
    const slotTensors = slotNames.map((key) => tensorsByPath(caller, state, key));
    return tf.tidy(() => {
      const gradOf = new Map(treeEntries(grads));
      const frozen = treeEntries(params).filter(([path, p]) => !isTrained(path, p));
      for (const [path] of frozen) gradOf.delete(path);
      const gradNorm = maxGradNorm === undefined ? undefined : globalNorm([...gradOf.values()]);
      const clip = gradNorm && maxGradNorm !== undefined ? clipCoefficient(gradNorm, maxGradNorm) : undefined;
      const { scalars, coefficients } = rule.advance(old, state.learningRate);
      const l2 = tf.scalar(weightDecay);
      const keepFraction = tf.scalar(1).sub(state.learningRate.mul(weightDecay));

      const newSlots = slotNames.map(() => new Map<string, tf.Tensor>());
      const newParams = treeMap(params, (param, path) => {
        let grad = gradOf.get(path);
        if (grad === undefined) return param.clone();
        // One scope per parameter: eager engines then hold the intermediates of one of them at a time, not of all.
        const { next, slots } = tf.tidy(() => {
          if (clip) grad = grad!.mul(clip);
          const decayed = decays(path, param);
          if (decayed && rule.decay === "l2") grad = grad!.add(param.mul(l2));
          const stepped = rule.step(grad!, slotsAt(caller, slotNames, slotTensors, path), coefficients);
          const start = decayed && rule.decay === "decoupled" ? param.mul(keepFraction) : param;
          return { next: start.sub(stepped.delta), slots: stepped.slots as Record<SlotName, tf.Tensor> };
        });
        for (const [i, key] of slotNames.entries()) newSlots[i]!.set(path, slots[key]);
        return next;
      });

      const newState: Record<string, unknown> = { learningRate: state.learningRate.clone() };
      for (const key of scalarNames) newState[key] = scalars[key];
      for (const [i, key] of slotNames.entries()) {
        newState[key] = treeMap(params, (_p, path) => newSlots[i]!.get(path) ?? null);
      }
      const result = { params: newParams, state: newState, ...(gradNorm && { gradNorm }) };
      return result as unknown as tf.TensorContainerObject;
    }) as unknown as OptimizerUpdate<P, S>;
  }

  return { name, init, update };
}

function tensorsByPath(caller: string, state: OptimizerState, key: string): Map<string, tf.Tensor> {
  const tree = (state as unknown as Record<string, Tree>)[key];
  if (tree === undefined) throw new Error(`${caller}: state has no '${key}'; expected a state made by init`);
  return new Map(treeEntries(tree));
}

function slotsAt<K extends string>(
  caller: string,
  names: readonly K[],
  tensors: readonly Map<string, tf.Tensor>[],
  path: string,
): Slots<K> {
  const entries = names.map((name, i) => {
    const tensor = tensors[i]!.get(path);
    if (!tensor)
      throw new Error(`${caller}: state.${name} has no tensor at '${path}'; expected a state of these params`);
    return [name, tensor] as const;
  });
  return Object.fromEntries(entries) as Slots<K>;
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
