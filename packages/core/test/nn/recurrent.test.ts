import { gru, gruCell, lstm, lstmCell, Rng } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";

const params = (gates: number, rng: Rng) => ({
  weight_ih: rng.normal([gates * 3, 2]),
  weight_hh: rng.normal([gates * 3, 3]),
  bias_ih: rng.normal([gates * 3]),
  bias_hh: rng.normal([gates * 3]),
});

describe("recurrent layers", () => {
  const rng = new Rng(1);
  const x = rng.normal([2, 4, 2]);
  const step = (t: number) => tf.reshape(tf.slice(x, [0, t, 0], [2, 1, 2]), [2, 2]);
  const tolerance = { atol: 1e-6, rtol: 1e-5 };

  it("unroll their cells over time", async () => {
    const p = params(4, rng);
    let state = { h: tf.zeros([2, 3]), c: tf.zeros([2, 3]) } as { h: tf.Tensor; c: tf.Tensor };
    for (let t = 0; t < 4; t++) state = lstmCell(p, step(t), state);
    const all = lstm(p, x);
    expect(all.y.shape).toEqual([2, 4, 3]);
    await expectClose(all.h, state.h, tolerance);
    await expectClose(all.c, state.c, tolerance);

    const q = params(3, rng);
    let h: tf.Tensor = tf.zeros([2, 3]);
    for (let t = 0; t < 4; t++) h = gruCell(q, step(t), h);
    await expectClose(gru(q, x).h, h, tolerance);
  });

  it("say what does not fit", () => {
    expect(() => lstm(params(3, rng), x)).toThrow("lstm: weight_ih [9,2] and weight_hh [9,3]; expected [4 H, I]");
    expect(() => gru(params(3, rng), step(0))).toThrow("gru: x has shape [2,2]; expected [B, T, I]");
  });
});
