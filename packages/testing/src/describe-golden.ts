import { type Tree, valueAndGrad } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { expectClose } from "./expect-close.ts";
import { type GoldenCase, goldenTensor, loadGolden, type Tolerance } from "./golden-files.ts";
import { channelsFirst, channelsLast } from "./image-layouts.ts";
import { describeOnEngines } from "./test-engines.ts";

/** What a test does with one case. */
export interface GoldenRun {
  /**
   * Computes the case's outputs from its inputs, under the names of the file. A case with a cotangent needs no `loss`: it
   * is the sum of y times the cotangent.
   */
  readonly outputs: (inputs: Record<string, tf.Tensor>) => Record<string, tf.Tensor>;
  /** Names of inputs and outputs that are images: `outputs` sees and returns them channels last. */
  readonly images?: readonly string[];
  /** Names of outputs that this test leaves to another. */
  readonly skip?: readonly string[];
  readonly tolerance?: Tolerance;
}

/**
 * Tests every case of a golden file on every test engine, as a compiled function: all outputs and all gradients.
 *
 * @param run what to do with a case; undefined for cases that another test serves
 */
export async function describeGolden(
  fileName: string,
  run: (golden: GoldenCase) => GoldenRun | undefined,
): Promise<void> {
  const file = await loadGolden(fileName);
  describeOnEngines(`golden ${fileName}`, (engine) => {
    for (const golden of file.cases) {
      const how = run(golden);
      if (!how) continue;
      it(`${golden.name} gives the reference's values and gradients`, async () => {
        const images = new Set(how.images);
        const grads = golden.grads ?? {};
        const params: Record<string, tf.Tensor> = {};
        const others: Record<string, tf.Tensor> = {};
        for (const [name, value] of Object.entries(golden.inputs)) {
          const x = goldenTensor(value);
          (name in grads ? params : others)[name] = images.has(name) ? channelsLast(x) : x;
        }
        const step = engine().compile((params: Record<string, tf.Tensor>, others: Record<string, tf.Tensor>) =>
          evaluate(how, params, others),
        );
        const got = (await step(params, others)) as Record<string, tf.Tensor> & { grads?: Record<string, tf.Tensor> };
        const tolerance = how.tolerance ?? golden.tolerance ?? file.tolerance;
        const check = async (
          name: string,
          value: tf.Tensor | undefined,
          want: GoldenCase["outputs"][string],
          label: string,
        ) => {
          expect(value, `${label} is computed`).toBeInstanceOf(tf.Tensor);
          await expectClose(images.has(name) ? channelsFirst(value!) : value!, want, tolerance, label);
        };
        for (const [name, want] of Object.entries(golden.outputs)) {
          if (!how.skip?.includes(name)) await check(name, got[name], want, name);
        }
        for (const [name, want] of Object.entries(grads)) {
          await check(name, got.grads?.[name], want, `gradient of ${name}`);
        }
        step.dispose();
      });
    }
  });
}

function evaluate(how: GoldenRun, params: Record<string, tf.Tensor>, others: Record<string, tf.Tensor>): Tree {
  const forward = (params: Record<string, tf.Tensor>) => {
    const outputs = how.outputs({ ...others, ...params });
    if (outputs.loss || !others.cotangent) return outputs;
    return { ...outputs, loss: tf.sum(tf.mul(outputs.y!, others.cotangent)) };
  };
  if (Object.keys(params).length === 0) return forward(params);
  // A parameter that the loss does not depend on has a gradient of zeros in the files.
  const loss = (p: Record<string, tf.Tensor>) => forward(p) as { loss: tf.Tensor };
  return valueAndGrad(loss, params, { allowUnused: true });
}
