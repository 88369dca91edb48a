import { describeModelContract } from "@genai/testing";
import {
  createSequenceVae,
  decodeSequenceVae,
  encodeSequenceVae,
  encodeStrings,
  interpolateSequenceVae,
  reconstructSequenceVae,
  sampleSequenceVae,
  sequenceVaeLoss,
} from "../src/index.ts";

describeModelContract({
  name: "a VAE for strings",
  create: (rng) => createSequenceVae({ vocabSize: 4, length: 5, nEmbd: 3, hiddenSize: 6, latentDim: 2 }, rng),
  batch: () => encodeStrings(["ab", "cab", "", "bbbb"], { alphabet: ["a", "b", "c"], length: 5 }),
  loss: (vae, tokens, rng) => sequenceVaeLoss(vae, tokens, rng, { beta: 0.5, wordDropout: 0.3 }),
  outputs: {
    run: (vae, tokens, rng) => {
      const posterior = encodeSequenceVae(vae, tokens);
      return {
        ...posterior,
        greedy: decodeSequenceVae(vae, posterior.mu),
        reconstruction: reconstructSequenceVae(vae, tokens),
        samples: sampleSequenceVae(vae, { count: 3, rng }),
        walk: interpolateSequenceVae(vae, tokens, tokens, { steps: 3 }),
      };
    },
    shapes: { mu: [4, 2], logvar: [4, 2], greedy: [4, 5], reconstruction: [4, 5], samples: [3, 5], walk: [4, 3, 5] },
  },
});
