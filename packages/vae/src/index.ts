export {
  type Autoencoder,
  type AutoencoderConfig,
  type AutoencoderParams,
  autoencoderCodec,
  autoencoderLoss,
  type Corruption,
  createAutoencoder,
  decodeAutoencoder,
  encodeAutoencoder,
  gaussianCorruption,
  maskingCorruption,
  saltAndPepperCorruption,
} from "./autoencoder.ts";
export {
  type ConditionalVae,
  type ConditionalVaeConfig,
  type ConditionalVaeParams,
  classLabels,
  conditionalVaeFunctions,
  conditionalVaeLoss,
  conditionalVaePresets,
  createConditionalVae,
  decodeConditionalVae,
  encodeConditionalVae,
} from "./conditional-vae.ts";
export {
  type ConvVae,
  type ConvVaeConfig,
  type ConvVaeParams,
  convVaeFunctions,
  convVaeLoss,
  convVaePresets,
  createConvVae,
  decodeConvVae,
  encodeConvVae,
  interpolateConvVae,
  reconstructConvVae,
  sampleConvVae,
} from "./conv-vae.ts";
export { convVaeElbo, type Elbo, type ElboOptions, type VaeElboOptions, vaeElbo } from "./elbo.ts";
export {
  createHierarchicalVae,
  type HierarchicalVae,
  type HierarchicalVaeConfig,
  type HierarchicalVaeParams,
  hierarchicalVaeFunctions,
  hierarchicalVaeLoss,
  hierarchicalVaePresets,
  reconstructHierarchicalVae,
  sampleHierarchicalVae,
} from "./hierarchical-vae.ts";
export {
  estimateLogLikelihood,
  iwaeLoss,
  iwaeMnistPreset,
  type LogLikelihood,
  type LogLikelihoodOptions,
} from "./iwae.ts";
export {
  type InterpolateOptions,
  interpolate,
  interpolateCodes,
  type LatentCodec,
  type LatentRepresentationOptions,
  type LatentTraversalOptions,
  latentCodec,
  latentRepresentation,
  latentTraversal,
  reconstruct,
  type SampleVaeOptions,
  sampleVae,
} from "./latent-tasks.ts";
export {
  bernoulliLikelihood,
  binarize,
  createLikelihood,
  discretizedLogisticMixtureLikelihood,
  gaussianLikelihood,
  type Likelihood,
  type LikelihoodConfig,
} from "./likelihoods.ts";
export { createMadePrior, type MadePrior, type MadePriorConfig, madePrior } from "./made-prior.ts";
export type { MlpActivation } from "./mlp.ts";
export {
  createMlpVae,
  decodeMlpVae,
  encodeMlpVae,
  type MlpVae,
  type MlpVaeConfig,
  type MlpVaeParams,
  mlpVaeFunctions,
  mlpVaeLoss,
  mlpVaePresets,
} from "./mlp-vae.ts";
export {
  createMixturePrior,
  createVampPrior,
  type MixturePrior,
  type MixturePriorConfig,
  mixturePrior,
  type Prior,
  standardNormalPrior,
  type VampPrior,
  type VampPriorConfig,
  vampPrior,
} from "./priors.ts";
export {
  type ImportanceWeighted,
  type Posterior,
  type VaeFunctions,
  type VaeLossOptions,
  vaeFunctions,
  vaeLoss,
} from "./vae-functions.ts";
