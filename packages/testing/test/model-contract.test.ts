import { createLinear, dropout, linear, mse, type Rng } from "@genai/core";
import { describeModelContract } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

// The contract holds for a small model; each family calls it with its own.
describeModelContract({
  name: "a two-layer regressor",
  create: (rng: Rng) => ({
    config: { hidden: 8 },
    params: { layers: [createLinear(3, 8, rng), createLinear(8, 1, rng)] },
  }),
  batch: (rng) => ({ x: rng.normal([5, 3]), y: rng.normal([5, 1]) }),
  loss: ({ params }, { x, y }, rng) => {
    const [first, second] = params.layers as [ReturnType<typeof createLinear>, ReturnType<typeof createLinear>];
    return mse(linear(second, dropout(tf.tanh(linear(first, x)), 0.1, rng)), y);
  },
  outputs: {
    run: ({ params }, { x }) => ({ hidden: linear(params.layers[0]!, x) }),
    shapes: { hidden: [5, 8] },
  },
});
