import {
  concatBytes,
  encodeSafetensors,
  openSafetensors,
  Rng,
  type Tree,
  treeEntries,
  treeMap,
  valueAndGrad,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { expectClose } from "./expect-close.ts";
import type { Tolerance } from "./golden-files.ts";
import { describeOnEngines } from "./test-engines.ts";

export interface ModelContract<M extends { config: unknown; params: Tree }, B> {
  readonly name: string;
  readonly create: (rng: Rng) => M;
  /** A small batch; the same for the same Rng. */
  readonly batch: (rng: Rng) => B;
  /** A scalar loss, or a record `{ loss, ... }`. */
  readonly loss: (model: M, batch: B, rng: Rng) => tf.Tensor | { loss: tf.Tensor };
  /** What the model computes, with the shapes it should have, by dotted path. */
  readonly outputs?: {
    readonly run: (model: M, batch: B, rng: Rng) => Tree;
    readonly shapes: Record<string, readonly number[]>;
  };
  /** Paths of parameters whose gradient is rightly zero at the start, such as those behind a zero gate. */
  readonly zeroGradients?: RegExp;
  /** Between engines; default { atol: 1e-4, rtol: 1e-3 }. */
  readonly tolerance?: Tolerance;
}

const lossOf = (result: tf.Tensor | { loss: tf.Tensor }): tf.Tensor =>
  result instanceof tf.Tensor ? result : result.loss;

/** The tests that every model family passes. */
export function describeModelContract<M extends { config: unknown; params: Tree }, B>(
  contract: ModelContract<M, B>,
): void {
  const { name, create, batch, loss } = contract;
  const tolerance = contract.tolerance ?? { atol: 1e-4, rtol: 1e-3 };
  const gradients = (model: M, data: B, rng: Rng): { loss: tf.Tensor; grads: Tree } => {
    const { loss: value, grads } = valueAndGrad(
      (params: Tree) => lossOf(loss({ ...model, params }, data, rng)),
      model.params,
    );
    return { loss: value, grads };
  };

  describeOnEngines(`${name} keeps the contract of models`, (engine) => {
    it("computes outputs of the shapes it promises", async () => {
      const model = create(new Rng(1));
      const data = batch(new Rng(2));
      const run = contract.outputs?.run ?? ((m: M, d: B, rng: Rng) => ({ loss: lossOf(loss(m, d, rng)) }));
      const got = await engine().compile((m: M, d: B, rng: Rng) => run(m, d, rng))(model, data, new Rng(3));
      const byPath = Object.fromEntries(treeEntries(got).map(([path, tensor]) => [path, tensor.shape]));
      expect(byPath).toMatchObject(contract.outputs?.shapes ?? { loss: [] });
    });

    it("repeats itself with the same seed", async () => {
      const data = batch(new Rng(2));
      const evaluate = engine().compile((m: M, d: B, rng: Rng) => lossOf(loss(m, d, rng)));
      const [first, second] = [create(new Rng(1)), create(new Rng(1))];
      const a = await evaluate(first, data, new Rng(3));
      const b = await evaluate(second, data, new Rng(3));
      expect(Number.isFinite((await a.data())[0])).toBe(true);
      expect(await a.data()).toEqual(await b.data());
    });

    it("has a finite gradient for every parameter, equal to the eager one on the CPU", async () => {
      const model = create(new Rng(1));
      const data = batch(new Rng(2));
      const { loss: value, grads } = await engine().compile(gradients)(model, data, new Rng(3));
      const eager = tf.tidy(
        () => gradients(model, data, new Rng(3)) as unknown as tf.TensorContainerObject,
      ) as unknown as {
        loss: tf.Tensor;
        grads: Tree;
      };
      await expectClose(value, eager.loss, tolerance, "loss");
      const want = Object.fromEntries(treeEntries(eager.grads));
      for (const [path, grad] of treeEntries(grads)) {
        const values = await grad.data();
        expect(values.every(Number.isFinite), `gradient of ${path} is finite`).toBe(true);
        if (!contract.zeroGradients?.test(path)) {
          expect(
            values.some((x) => x !== 0),
            `gradient of ${path} is not zero`,
          ).toBe(true);
        }
        await expectClose(grad, want[path]!, tolerance, `gradient of ${path}`);
      }
    });

    it("leaks no tensors", async () => {
      const model = create(new Rng(1));
      const data = batch(new Rng(2));
      const step = engine().compile((m: M, d: B, rng: Rng) => gradients(m, d, rng));
      const once = async () => {
        const result = await step(model, data, new Rng(3));
        for (const [, tensor] of treeEntries(result)) tensor.dispose();
      };
      await once();
      const before = tf.memory().numTensors;
      await once();
      await once();
      expect(tf.memory().numTensors).toBe(before);
    });
  });

  describe(`${name} as data`, () => {
    it("creates the same parameters from the same seed, and others from another", async () => {
      const read = async (seed: number) =>
        Promise.all(treeEntries(create(new Rng(seed)).params).map(async ([path, t]) => [path, await t.data()]));
      expect(await read(1)).toEqual(await read(1));
      expect(await read(1)).not.toEqual(await read(2));
    });

    it("has a configuration that survives JSON", () => {
      const { config } = create(new Rng(1));
      expect(JSON.parse(JSON.stringify(config))).toEqual(config);
    });

    it("computes the same after a round trip through safetensors", async () => {
      const model = create(new Rng(1));
      const data = batch(new Rng(2));
      const file = await openSafetensors(concatBytes(await encodeSafetensors(treeEntries(model.params))));
      const loaded = new Map<string, tf.Tensor>();
      for (const path of file.tensors.keys()) loaded.set(path, await file.tensor(path));
      const copy = { ...model, params: treeMap(model.params, (_, path) => loaded.get(path)) };
      const evaluate = (m: M) => tf.tidy(() => lossOf(loss(m, data, new Rng(3)))).data();
      expect(await evaluate(copy)).toEqual(await evaluate(model));
    });
  });
}
