export {
  anomalyScore,
  auroc,
  calibrateThreshold,
  reconstructionScore,
  relativeAnomalyScore,
  scoreAll,
} from "./anomaly.ts";
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
  characterAlphabet,
  decodeStrings,
  encodeStrings,
} from "./character-codes.ts";
export {
  type CodePrior,
  type CodePriorBlock,
  type CodePriorConfig,
  type CodePriorParams,
  codePriorLogits,
  codePriorLoss,
  createCodePrior,
  type SampleCodesOptions,
  sampleCodePrior,
  sampleVqVae,
  vqVaeNll,
} from "./code-prior.ts";
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
  type FitMixtureOptions,
  fitGaussianMixture,
  type GaussianMixture,
  gaussianMixtureLogLikelihood,
  type MixtureRows,
} from "./gaussian-mixture.ts";
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
export { assertSomeObserved, drawRound, type ImputeOptions, imputeMean, imputeMissing } from "./imputation.ts";
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
export { fitPca, imputePca, type Pca, pcaScore, reconstructPca } from "./pca.ts";
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
  createSequenceVae,
  type DecodeSequenceOptions,
  decodeSequenceVae,
  encodeSequenceVae,
  interpolateSequenceVae,
  reconstructSequenceVae,
  type SequenceVae,
  type SequenceVaeConfig,
  type SequenceVaeLossOptions,
  type SequenceVaeParams,
  sampleSequenceVae,
  sequenceVaeLoss,
} from "./sequence-vae.ts";
export {
  describeTableColumns,
  hideCells,
  type TableColumn,
  type TableColumnData,
  type TableRows,
  type TableSource,
  tableBatchRows,
  tableColumnData,
  tableFromCells,
  tableRows,
} from "./table-columns.ts";
export {
  createTableVae,
  encodeTableVae,
  imputeTableVae,
  sampleTableVae,
  type TableVae,
  type TableVaeConfig,
  type TableVaeLossOptions,
  type TableVaeParams,
  tableVaeLogLikelihood,
  tableVaeLoss,
} from "./table-vae.ts";
export {
  type ImportanceWeighted,
  type Posterior,
  type VaeFunctions,
  type VaeLossOptions,
  vaeFunctions,
  vaeLoss,
} from "./vae-functions.ts";
export {
  createVqVae,
  decodeVqVae,
  encodeVqVae,
  initVqCodebook,
  reconstructVqVae,
  type UpdateVqCodebookOptions,
  updateVqCodebook,
  type VqCodebookState,
  type VqResidualParams,
  type VqVae,
  type VqVaeConfig,
  type VqVaeLoss,
  type VqVaeLossOptions,
  type VqVaeParams,
  vqCodebookUsage,
  vqCodeMapSize,
  vqVaeLoss,
  vqVaePresets,
} from "./vq-vae.ts";
