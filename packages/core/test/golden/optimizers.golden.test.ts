import {
  describeOnEngines,
  expectClose,
  type GoldenCase,
  type GoldenTensor,
  goldenTensor,
  loadGolden,
} from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { adadelta } from "../../src/optim/adadelta.ts";
import { adagrad } from "../../src/optim/adagrad.ts";
import { adam, adamw } from "../../src/optim/adam.ts";
import { adamax } from "../../src/optim/adamax.ts";
import { clipByGlobalNorm } from "../../src/optim/clip.ts";
import { emaInit, emaUpdate } from "../../src/optim/ema.ts";
import { type LionState, lion } from "../../src/optim/lion.ts";
import { nadam } from "../../src/optim/nadam.ts";
import type { Optimizer, OptimizerState } from "../../src/optim/optimizer.ts";
import { radam } from "../../src/optim/radam.ts";
import { rmsprop } from "../../src/optim/rmsprop.ts";
import { sgd } from "../../src/optim/sgd.ts";

type Numbers = Record<string, number>;

/** The optimizer of a golden case: which function by the start of the case's name, and its options from the case. */
function optimizerOf({ name, params = {} }: GoldenCase): Optimizer {
  const p = params as Numbers;
  const betas = params.betas as readonly [number, number] | undefined;
  const common = { learningRate: p.lr!, weightDecay: p.weight_decay ?? 0 };
  const kind = name.split("_")[0];
  if (kind === "sgd") {
    return sgd({ ...common, momentum: p.momentum, dampening: p.dampening, nesterov: params.nesterov === true });
  }
  if (kind === "adam") return adam({ ...common, betas, eps: p.eps, amsgrad: params.amsgrad === true });
  if (kind === "adamw") return adamw({ ...common, betas, eps: p.eps });
  if (kind === "adamax") return adamax({ ...common, betas, eps: p.eps });
  if (kind === "nadam") {
    // The vectors come from PyTorch 1.13; nadam.test.ts has the formula as published and as in PyTorch 2.
    return nadam({ ...common, betas, eps: p.eps, momentumDecay: p.momentum_decay, pytorch1Correction: true });
  }
  if (kind === "radam") return radam({ ...common, betas, eps: p.eps });
  if (kind === "rmsprop") {
    const { alpha, eps, momentum } = p;
    return rmsprop({ ...common, alpha, eps, momentum, centered: params.centered === true });
  }
  if (kind === "adagrad") return adagrad({ ...common, eps: p.eps });
  if (kind === "adadelta") return adadelta({ ...common, rho: p.rho, eps: p.eps });
  if (kind === "lion") return lion({ ...common, betas: [p.beta1!, p.beta2!] });
  throw new Error(`no optimizer for the golden case ${name}`);
}

const file = await loadGolden("optimizers");

/** The k-th of the tensors that a golden tensor stacks along its first axis. */
function rowOf(value: GoldenTensor, k: number): GoldenTensor {
  const shape = value.shape.slice(1);
  const size = shape.reduce((a, b) => a * b, 1);
  return { ...value, shape, data: value.data.slice(k * size, (k + 1) * size) };
}

describeOnEngines("golden optimizers", (engine) => {
  for (const golden of file.cases) {
    const { name, params, inputs, outputs } = golden;
    const tolerance = golden.tolerance ?? file.tolerance;
    if (name.startsWith("clip_grad_norm")) {
      it(`${name} clips by the global norm`, async () => {
        const clip = engine().compile((grads: { a: tf.Tensor; b: tf.Tensor }) =>
          clipByGlobalNorm(grads, params!.max_norm as number),
        );
        const { grads, norm } = await clip({ a: goldenTensor(inputs.grad_a!), b: goldenTensor(inputs.grad_b!) });
        await expectClose(norm, outputs.total_norm!, tolerance, "norm");
        await expectClose(grads.a, outputs.grad_a!, tolerance, "a");
        await expectClose(grads.b, outputs.grad_b!, tolerance, "b");
      });
    } else if (name.startsWith("ema")) {
      it(`${name} averages as tabulated`, async () => {
        const stack = inputs.params as GoldenTensor;
        const update = engine().compile((ema: tf.Tensor, param: tf.Tensor) =>
          emaUpdate(ema, param, params!.decay as number),
        );
        let ema = emaInit(goldenTensor(rowOf(stack, 0)));
        for (let k = 1; k < stack.shape[0]!; k++) {
          ema = await update(ema, goldenTensor(rowOf(stack, k)));
          await expectClose(ema, rowOf(outputs.ema as GoldenTensor, k - 1), tolerance, `average after step ${k}`);
        }
      });
    } else {
      it(`${name} takes the tabulated steps`, async () => {
        const optimizer = optimizerOf(golden);
        const update = engine().compile((grads: { w: tf.Tensor }, state: OptimizerState, tree: { w: tf.Tensor }) =>
          optimizer.update(grads, state, tree),
        );
        const grads = inputs.grads as GoldenTensor;
        let tree = { w: goldenTensor(inputs.param!) };
        let state = optimizer.init(tree);
        for (let k = 0; k < grads.shape[0]!; k++) {
          ({ params: tree, state } = await update({ w: goldenTensor(rowOf(grads, k)) }, state, tree));
          await expectClose(tree.w, rowOf(outputs.params as GoldenTensor, k), tolerance, `param after step ${k + 1}`);
        }
        if (outputs.momentum !== undefined) {
          const [momentum] = (state as LionState).momentum;
          await expectClose(momentum!.reshape(tree.w.shape), outputs.momentum, tolerance, "momentum");
        }
      });
    }
  }

  it("has cases", () => expect(file.cases.length).toBeGreaterThan(0));
});
