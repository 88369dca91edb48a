export { writeFileAtomic } from "./checkpoint/atomic-file.ts";
export {
  type ByteChunks,
  type ByteSource,
  type ByteSourceInput,
  chunksOf,
  collectBytes,
  concatBytes,
  openByteSource,
} from "./checkpoint/byte-source.ts";
export {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  encodeModel,
  loadModel,
  type ModelRecord,
  saveModel,
} from "./checkpoint/checkpoint.ts";
export {
  type CheckpointInfo,
  type CheckpointStore,
  type CheckpointStoreOptions,
  type LatestCheckpoint,
  memoryCheckpoints,
  type SkippedCheckpoint,
} from "./checkpoint/checkpoint-store.ts";
export { fileCheckpoints } from "./checkpoint/file-checkpoints.ts";
export { opfsCheckpoints } from "./checkpoint/opfs-checkpoints.ts";
export {
  type EncodeSafetensorsOptions,
  encodeSafetensors,
  openSafetensors,
  type SafetensorsEntries,
  type SafetensorsFile,
  type TensorData,
  toTensor,
} from "./checkpoint/safetensors.ts";
export type { SafetensorsArray, SafetensorsDtype } from "./checkpoint/safetensors-dtypes.ts";
export type { TensorInfo } from "./checkpoint/safetensors-header.ts";
export {
  type EncodeShardedOptions,
  encodeShardedSafetensors,
  type OpenShard,
  openShardedSafetensors,
  type Shard,
} from "./checkpoint/sharded-safetensors.ts";
export { installCompat } from "./compat/install-compat.ts";
export { type CreateEngineOptions, createEngine, DEVICES, type Runtime } from "./engine/create-engine.ts";
export { describeEngines, type EngineDescription } from "./engine/describe-engines.ts";
export { createEagerEngine } from "./engine/eager-engine.ts";
export type { Compiled, CompileOptions, Device, Engine } from "./engine/engine.ts";
export { isNode, type LoadBackendOptions, TFJS_BACKENDS, type TfjsBackend } from "./engine/tfjs-backends.ts";
export { silenceTfjsBanner } from "./engine/tfjs-banner.ts";
export { AbortError, DivergenceError, EngineUnavailableError, FormatError, throwIfAborted } from "./errors.ts";
export { type FileLockOptions, pause, withFileLock } from "./file-lock.ts";
export {
  type CrossEntropyOptions,
  crossEntropy,
  infoNce,
  klCategorical,
} from "./losses/cross-entropy.ts";
export { gumbelSoftmax, type Quantised, vectorQuantise } from "./losses/discrete-latents.ts";
export {
  gaussianLogProb,
  gaussianNll,
  iwaeBound,
  klDiagonalGaussians,
  klFreeBits,
  klStandardNormal,
  reparameterise,
  standardNormalLogProb,
} from "./losses/gaussians.ts";
export { discretizedLogisticMixtureNll, gaussianMixtureNll } from "./losses/mixtures.ts";
export { type Reduction, reduceLoss } from "./losses/reduction.ts";
export { binaryCrossEntropyWithLogits, huber, l1, mse } from "./losses/regression.ts";
export {
  elu,
  exp,
  geglu,
  gelu,
  glu,
  hardswish,
  leakyRelu,
  logSigmoid,
  logSoftmax,
  logSumExp,
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
} from "./nn/activations.ts";
export {
  type AttentionOptions,
  alibiBias,
  alibiSlopes,
  attention,
  causalBias,
  maskBias,
  mergeHeads,
  splitHeads,
} from "./nn/attention.ts";
export {
  type CachedAttentionOptions,
  type CachedKeysAndValues,
  cachedAttention,
  cachedRope,
  scatterInto,
  seenSlots,
  writeSlots,
} from "./nn/cached-attention.ts";
export {
  type Conv1dOptions,
  type Conv2dOptions,
  type ConvParams,
  type ConvTranspose2dOptions,
  conv1d,
  conv2d,
  convTranspose2d,
  createConv2d,
  createConvTranspose2d,
  type Pair,
} from "./nn/conv.ts";
export { type CustomOp, customOp, stopGradient, withoutGradients } from "./nn/custom-op.ts";
export { dropout } from "./nn/dropout.ts";
export { embedding } from "./nn/embedding.ts";
export { type Conv2dAttrs, type FusedOps, fusedOp } from "./nn/fused.ts";
export {
  constantInit,
  fans,
  type Initialiser,
  kaimingNormal,
  kaimingUniform,
  normalInit,
  onesInit,
  orthogonalInit,
  truncatedNormalInit,
  uniformInit,
  xavierNormal,
  xavierUniform,
  zerosInit,
} from "./nn/init.ts";
export { createLinear, type LinearParams, linear } from "./nn/linear.ts";
export { addLowRank, type LowRankTerm } from "./nn/low-rank.ts";
export {
  type BatchNormStats,
  batchNormEval,
  batchNormTrain,
  groupNorm,
  instanceNorm,
  layerNorm,
  type NormParams,
  rmsNorm,
} from "./nn/norm.ts";
export {
  applyRope,
  type RopeTables,
  ropeTables,
  rotateHalves,
  type SinusoidalOptions,
  sinusoidalEmbedding,
  sinusoidalFrequencies,
} from "./nn/positions.ts";
export { recompute } from "./nn/recompute.ts";
export {
  gru,
  gruCell,
  gruFromKeras,
  gruResetBefore,
  lstm,
  lstmCell,
  lstmFromKeras,
  type RecurrentParams,
} from "./nn/recurrent.ts";
export {
  avgPool2d,
  maxPool2d,
  type PoolOptions,
  resizeBilinear,
  upsampleBilinear,
  upsampleNearest,
} from "./nn/resample.ts";
export { type AccumulationState, accumulateGradients } from "./optim/accumulate.ts";
export { type AdadeltaOptions, type AdadeltaState, adadelta } from "./optim/adadelta.ts";
export { type AdagradOptions, type AdagradState, adagrad } from "./optim/adagrad.ts";
export { type AdamOptions, type AdamState, adam, adamw } from "./optim/adam.ts";
export { type AdamaxOptions, type AdamaxState, adamax } from "./optim/adamax.ts";
export { clipByGlobalNorm, globalNorm } from "./optim/clip.ts";
export { emaInit, emaUpdate } from "./optim/ema.ts";
export { type LionOptions, type LionState, lion } from "./optim/lion.ts";
export { type NadamOptions, type NadamState, nadam } from "./optim/nadam.ts";
export {
  decayMatrices,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type OptimizerUpdate,
  type ParamFilter,
  type SlotVectors,
} from "./optim/optimizer.ts";
export { type RadamOptions, type RadamState, radam } from "./optim/radam.ts";
export { type RmspropOptions, type RmspropState, rmsprop } from "./optim/rmsprop.ts";
export {
  type CosineWithWarmupOptions,
  constantWithWarmup,
  cosineAnnealing,
  cosineWarmRestarts,
  cosineWithWarmup,
  emaDecayWarmup,
  exponentialDecay,
  inverseSqrt,
  joinSchedules,
  linearWarmup,
  linearWithWarmup,
  noam,
  type OneCycleOptions,
  oneCycle,
  polynomialDecay,
  type Schedule,
  stepDecay,
  type WarmupDecayOptions,
  type WarmupOptions,
  warmupStableDecay,
} from "./optim/schedules.ts";
export { type SgdOptions, type SgdState, sgd } from "./optim/sgd.ts";
export { type Draw, philox4x32, Rng, type RngState } from "./rng.ts";
export type { BatchStream } from "./train/batch-stream.ts";
export { type FitOptions, type FitProgress, type FitResult, fit, type StepResult } from "./train/fit.ts";
export { type GradientState, type GradientStep, gradientStep, type LossScalars } from "./train/gradient-step.ts";
export { replaceState, type ScalarSchedules } from "./train/training-state.ts";
export { type ValueAndGrad, type ValueAndGradOptions, valueAndGrad } from "./train/value-and-grad.ts";
export {
  assertSameStructure,
  countParams,
  isRecord,
  isTensor,
  type Tree,
  treeDispose,
  treeEntries,
  treeFreeze,
  treeKeep,
  treeLeaves,
  treeMap,
  treeMapLeaves,
  treeUnflatten,
  treeVisit,
  treeZip,
} from "./tree.ts";
export {
  type Blocks,
  type CodeBits,
  fromBlocks,
  GROUP_SIZES,
  type GroupSize,
  MIN_GROUP_SIZE,
  toBlocks,
} from "./weights/blocks.ts";
export {
  type Calibration,
  type ConvertWeightsOptions,
  convertWeights,
  isConvertedMatrix,
  plainWeights,
  type WeightFormat,
} from "./weights/convert-weights.ts";
export { fromPanels, type MatrixData, type MatrixLayout, toPanels } from "./weights/panels.ts";
export {
  fromRoundedMatrix,
  type RoundedMatrix,
  toRoundedMatrix,
} from "./weights/rounded-matrix.ts";
