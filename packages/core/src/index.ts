export { type ByteSource, type ByteSourceInput, concatBytes, openByteSource } from "./checkpoint/byte-source.ts";
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
export { type CreateEngineOptions, createEngine, type Runtime } from "./engine/create-engine.ts";
export { createEagerEngine } from "./engine/eager-engine.ts";
export type { Compiled, Device, Engine } from "./engine/engine.ts";
export { type LoadBackendOptions, TFJS_BACKENDS, type TfjsBackend } from "./engine/tfjs-backends.ts";
export { silenceTfjsBanner } from "./engine/tfjs-banner.ts";
export { AbortError, EngineUnavailableError, FormatError, throwIfAborted } from "./errors.ts";
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
export { type ValueAndGrad, type ValueAndGradOptions, valueAndGrad } from "./train/value-and-grad.ts";
export {
  assertSameStructure,
  countParams,
  type Tree,
  treeDispose,
  treeEntries,
  treeKeep,
  treeLeaves,
  treeMap,
  treeUnflatten,
  treeVisit,
  treeZip,
} from "./tree.ts";
