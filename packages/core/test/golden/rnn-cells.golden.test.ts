import { gru, gruFromKeras, gruResetBefore, lstm, lstmFromKeras, type RecurrentParams } from "@genai/core";
import { describeGolden } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

type Named = Record<string, tf.Tensor>;

const layer = (inputs: Named, i: number): RecurrentParams => ({
  weight_ih: inputs[`weight_ih_l${i}`]!,
  weight_hh: inputs[`weight_hh_l${i}`]!,
  bias_ih: inputs[`bias_ih_l${i}`]!,
  bias_hh: inputs[`bias_hh_l${i}`]!,
});

/** The state of layer i of [layers, B, H]. */
const stateOf = (states: tf.Tensor, i: number) =>
  tf.reshape(tf.slice(states, [i, 0, 0], [1, -1, -1]), states.shape.slice(1));

const keras = ({ kernel, recurrent_kernel, bias }: Named) => ({
  kernel: kernel!,
  recurrent_kernel: recurrent_kernel!,
  bias: bias!,
});

await describeGolden("rnn_cells", ({ name, params = {} }) => {
  const layers = params.layers as number;
  if (name === "lstm_keras_layout") {
    return {
      outputs: (inputs) => ({ y: lstm(lstmFromKeras(keras(inputs)), inputs.x!, { h: inputs.h0!, c: inputs.c0! }).y }),
    };
  }
  if (name === "gru_keras_layout") {
    return { outputs: (inputs) => ({ y: gru(gruFromKeras(keras(inputs)), inputs.x!, inputs.h0!).y }) };
  }
  if (name === "gru_keras_reset_before") {
    return { outputs: (inputs) => ({ y: gruResetBefore(keras(inputs), inputs.x!, inputs.h0!).y }) };
  }
  if (name.startsWith("lstm")) {
    return {
      outputs: (inputs) => {
        let y = inputs.x!;
        const last: { h: tf.Tensor; c: tf.Tensor }[] = [];
        for (let i = 0; i < layers; i++) {
          const result = lstm(layer(inputs, i), y, { h: stateOf(inputs.h0!, i), c: stateOf(inputs.c0!, i) });
          y = result.y;
          last.push(result);
        }
        return { y, h_n: tf.stack(last.map(({ h }) => h)), c_n: tf.stack(last.map(({ c }) => c)) };
      },
    };
  }
  if (name.startsWith("gru")) {
    return {
      outputs: (inputs) => {
        let y = inputs.x!;
        const last: tf.Tensor[] = [];
        for (let i = 0; i < layers; i++) {
          const result = gru(layer(inputs, i), y, stateOf(inputs.h0!, i));
          y = result.y;
          last.push(result.h);
        }
        return { y, h_n: tf.stack(last) };
      },
    };
  }
  throw new Error(`rnn_cells: no test for the case ${name}`);
});
