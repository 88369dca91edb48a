import { createEagerEngine, gradientStep, Rng, sgd, treeEntries, withoutGradients } from "@genai/core";
import { describeOnEngines, expectClose, expectGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { createGpt2, distillationLoss, type Gpt2Params, gpt2Logits, nextTokens } from "../../src/index.ts";

beforeAll(async () => {
  await createEagerEngine("cpu");
});

const value = async (x: tf.Tensor) => (await x.data())[0]!;
const softmax = (logits: number[]) => {
  const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
  return logits.map((x) => Math.exp(x) / total);
};
const student = [
  [1, 0, -1],
  [0.5, 2, 0],
  [3, 3, 3],
];
const teacher = [
  [2, -1, 0],
  [1, 1, 0.3],
  [0, 1, 9],
];
const targets = () => tf.tensor1d([0, 2, -100], "int32");

describe("distillationLoss", () => {
  it("mixes the targets' cross-entropy with tau^2 KL(teacher || student), over the tokens that count", async () => {
    const tau = 3;
    const kl = [0, 1].map((i) => {
      const p = softmax(teacher[i]!.map((x) => x / tau));
      const q = softmax(student[i]!.map((x) => x / tau));
      return tau * tau * p.reduce((sum, pi, j) => sum + pi * Math.log(pi / q[j]!), 0);
    });
    const ce = [-Math.log(softmax(student[0]!)[0]!), -Math.log(softmax(student[1]!)[2]!)];
    const options = { temperature: tau, teacherWeight: 0.25 };
    const got = distillationLoss(tf.tensor2d(student), tf.tensor2d(teacher), targets(), options);
    expect(await value(got.kl)).toBeCloseTo((kl[0]! + kl[1]!) / 2, 5);
    expect(await value(got.crossEntropy)).toBeCloseTo((ce[0]! + ce[1]!) / 2, 5);
    expect(await value(got.loss)).toBeCloseTo(0.75 * ((ce[0]! + ce[1]!) / 2) + 0.25 * ((kl[0]! + kl[1]!) / 2), 5);
  });

  it("is zero for a student that equals its teacher, with a gradient that nears half the distance of logits over V", async () => {
    const x = tf.tensor2d(student);
    expect(await value(distillationLoss(x, x, targets(), { teacherWeight: 1 }).loss)).toBeCloseTo(0, 6);
    // Hinton et al., eq. 4: at high temperatures tau^2 dKL/dz nears (z - v) / V for logits of mean zero.
    const zero = (rows: number[][]) => tf.tidy(() => tf.sub(tf.tensor2d(rows), tf.mean(tf.tensor2d(rows), 1, true)));
    const [z, v] = [zero(student.slice(0, 2)), zero(teacher.slice(0, 2))];
    const options = { temperature: 300, teacherWeight: 1 };
    const grad = tf.grad((z) => distillationLoss(z, v, targets().slice(0, 2), options).loss)(z);
    await expectClose(grad, tf.sub(z, v).div(3).div(2), { atol: 5e-3, rtol: 2e-2 });
  });

  it("has the gradients that differences give, and none for the teacher", async () => {
    const [s, t] = [tf.tensor2d(student), tf.tensor2d(teacher)];
    await expectGradient((x) => distillationLoss(x, t, targets(), { temperature: 2 }).loss, s);
    const grad = tf.grad((x) => distillationLoss(s, x, targets()).loss)(t);
    expect([...(await grad.data())].every((x) => x === 0)).toBe(true);
  });

  it("refuses vocabularies that differ and weights out of range", () => {
    const [a, b] = [tf.zeros([2, 3]), tf.zeros([2, 4])];
    expect(() => distillationLoss(a, b, targets())).toThrow("studentLogits [2,3] and teacherLogits [2,4]");
    expect(() => distillationLoss(a, a, targets(), { teacherWeight: 2 })).toThrow("teacherWeight (2) must be from 0");
    expect(() => distillationLoss(a, a, targets().slice(0, 2), { temperature: 0 })).toThrow("temperature (0)");
  });
});

describeOnEngines("distillation in one step", (engine) => {
  it("brings the student nearer to a teacher that stays as it is", async () => {
    const sizes = { vocabSize: 9, blockSize: 6, nHead: 2 };
    const big = { ...sizes, nEmbd: 12, nLayer: 2 };
    const small = { ...sizes, nEmbd: 8, nLayer: 1 };
    const trainable = (path: string) => path.startsWith("student.");
    type Both = { student: Gpt2Params; teacher: Gpt2Params };
    const { init, step } = gradientStep(
      sgd({ learningRate: 0.5, trainable }),
      ({ student, teacher }: Both, ids: tf.Tensor2D) =>
        distillationLoss(
          gpt2Logits({ config: small, params: student }, ids),
          withoutGradients(() => gpt2Logits({ config: big, params: teacher }, ids)),
          nextTokens(ids),
          { teacherWeight: 1 },
        ),
      { trainable },
    );
    const params = {
      student: createGpt2(small, new Rng(0)).params,
      teacher: createGpt2(big, new Rng(1)).params,
    };
    for (const [path, x] of treeEntries(params.teacher)) {
      if (path.endsWith("wte.weight")) params.teacher.wte = { weight: x.mul(20) };
    }
    const ids = new Rng(2).integers([4, 6], 0, 9) as tf.Tensor2D;
    const train = engine().compile(step);
    let state = init(params);
    const losses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const { state: next, metrics } = await train(state, ids, new Rng(0));
      losses.push(await value(metrics.loss));
      state = next;
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.9);
    expect(await state.params.teacher.wte.weight.data()).toEqual(await params.teacher.wte.weight.data());
  });
});
