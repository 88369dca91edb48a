import { dropout, type Engine, gelu, layerNorm, linear, Rng, recompute, valueAndGrad } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

type Block = { norm: { weight: tf.Tensor; bias: tf.Tensor }; up: { weight: tf.Tensor }; down: { weight: tf.Tensor } };
type Inputs = { x: tf.Tensor; block: Block; rng: Rng | undefined };

function residual({ x, block, rng }: Inputs, { bias }: { bias: tf.Tensor }): tf.Tensor {
  const h = gelu(linear(block.up, layerNorm(block.norm, x)));
  return x.add(dropout(linear(block.down, dropout(h, 0.3, rng)), 0.2, rng?.fork("out"))).add(bias);
}

const blockOf = (rng: Rng): Block => ({
  norm: { weight: rng.normal([4], 1, 0.1), bias: rng.normal([4]) },
  up: { weight: rng.normal([8, 4]) },
  down: { weight: rng.normal([4, 8]) },
});

type Model = { blocks: Block[]; bias: tf.Tensor };

const lossOf = (model: Model, x: tf.Tensor, again: boolean, rng?: Rng) => {
  const biases = model.bias.mul(2);
  const y = model.blocks.reduce(
    (x, block) =>
      again ? recompute(residual, { x, block, rng }, { bias: biases }) : residual({ x, block, rng }, { bias: biases }),
    x,
  );
  return y.square().mean() as tf.Scalar;
};

const tolerance = { atol: 1e-6, rtol: 1e-5 };

describeOnEngines("recompute", (engine) => {
  const blocks = () => [1, 2, 3].map((seed) => blockOf(new Rng(seed)));
  const gradients = (engine: Engine, again: boolean) =>
    engine.compile((blocks: Block[], bias: tf.Tensor, x: tf.Tensor, rng?: Rng) =>
      valueAndGrad((blocks: Block[]) => lossOf({ blocks, bias }, x, again, rng), blocks),
    );

  it.each([false, true])("changes neither loss nor gradients (dropout: %s)", async (drops) => {
    const [bias, x] = [new Rng(8).normal([4]), new Rng(9).normal([5, 4])];
    const rng = () => (drops ? new Rng(4) : undefined);
    const want = await gradients(engine(), false)(blocks(), bias, x, rng());
    const got = await gradients(engine(), true)(blocks(), bias, x, rng());
    await expectClose(got.loss, want.loss, tolerance);
    for (const [i, block] of got.grads.entries()) {
      await expectClose(block.up.weight, want.grads[i]!.up.weight, tolerance, `up of ${i}`);
      await expectClose(block.down.weight, want.grads[i]!.down.weight, tolerance, `down of ${i}`);
      await expectClose(block.norm.bias, want.grads[i]!.norm.bias, tolerance, `bias of ${i}`);
    }
  });

  it("leaves the stream of random numbers where it would be without", async () => {
    const after = async (again: boolean) => {
      const rng = new Rng(4);
      const result = await gradients(engine(), again)(blocks(), tf.zeros([4]), new Rng(9).normal([5, 4]), rng);
      expect(Number.isFinite((await result.loss.data())[0])).toBe(true);
      return rng.state();
    };
    expect(await after(true)).toEqual(await after(false));
  });

  it("leaks nothing", async () => {
    const run = gradients(engine(), true);
    const args = [blocks(), tf.zeros([4]), new Rng(9).normal([5, 4])] as const;
    const once = async () => tf.dispose((await run(...args, new Rng(0))) as unknown as tf.TensorContainer);
    await once();
    const before = tf.memory().numTensors;
    await once();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("gives second derivatives", async () => {
    const penalty = (again: boolean) =>
      engine().compile((x: tf.Tensor) => {
        const f = (x: tf.Tensor) => {
          const cube = ({ x }: { x: tf.Tensor }) => x.mul(x).mul(x);
          return tf.sum(again ? recompute(cube, { x }) : cube({ x }));
        };
        return tf.grad((x) => tf.sum(tf.square(tf.grad(f)(x))))(x);
      });
    const x = tf.tensor1d([1, -2, 0.5]);
    await expectClose(await penalty(true)(x), await penalty(false)(x), tolerance);
    await expectClose(Array.from(await (await penalty(true)(x)).data()), [36, -288, 4.5], tolerance);
  });

  it("has a zero gradient for inputs that it does not read, and takes whole numbers", async () => {
    const run = engine().compile((x: tf.Tensor, unused: tf.Tensor, ids: tf.Tensor) =>
      tf.grads((x: tf.Tensor, unused: tf.Tensor) =>
        tf.sum(recompute(({ x, ids }) => tf.mul(x, ids.toFloat()), { x, unused, ids })),
      )([x, unused]),
    );
    const [dx, unused] = await run(tf.tensor1d([1, 2]), tf.tensor1d([3]), tf.tensor1d([4, 5], "int32"));
    expect([...(await dx!.data())]).toEqual([4, 5]);
    expect([...(await unused!.data())]).toEqual([0]);
  });
});
