import {
  elu,
  geglu,
  gelu,
  glu,
  hardswish,
  leakyRelu,
  logSigmoid,
  logSoftmax,
  mish,
  quickGelu,
  relu,
  selu,
  sigmoid,
  silu,
  softmax,
  softplus,
  softsign,
  swiglu,
  tanh,
} from "@genai/core";
import { describeGolden } from "@genai/testing";
import type { Tensor } from "@tensorflow/tfjs";

const functions: Record<string, (x: Tensor) => Tensor> = {
  relu,
  elu: (x) => elu(x),
  selu,
  sigmoid,
  tanh,
  softplus,
  silu,
  mish,
  gelu_erf: (x) => gelu(x),
  gelu_tanh: (x) => gelu(x, { approximate: "tanh" }),
  quick_gelu: quickGelu,
  log_sigmoid: logSigmoid,
  softsign,
  hardswish,
  softmax,
  log_softmax: logSoftmax,
  glu,
  swiglu,
  geglu_erf: (x) => geglu(x),
};

await describeGolden("activations", ({ name }) => {
  if (name.startsWith("leaky_relu_")) {
    const slope = Number(name.slice("leaky_relu_".length));
    return { outputs: ({ x }) => ({ y: leakyRelu(x!, slope) }) };
  }
  const fn = functions[name];
  if (!fn) throw new Error(`activations: no test for the case ${name}`);
  return { outputs: ({ x }) => ({ y: fn(x!) }) };
});
