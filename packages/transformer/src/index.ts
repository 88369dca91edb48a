export type { Activation } from "./activation.ts";
export {
  type Bert,
  type BertConfig,
  type BertLayer,
  type BertOptions,
  type BertParams,
  bertClassLogits,
  bertClassLoss,
  bertHidden,
  bertMaskedLmLogits,
  bertMaskedLmLoss,
  bertPooled,
  bertPresets,
  createBert,
} from "./bert.ts";
export type { CalibrationProgress, LmCalibration } from "./calibration.ts";
export { type CausalLm, type CausalLogitsOptions, checkIdRange, nextTokens } from "./causal-lm.ts";
export { type ConvertedLm, type ConvertLmOptions, convertLm } from "./converted-lm.ts";
export type { BatchRequest, BatchToken } from "./generation/batch-request.ts";
export {
  type BatchScheduler,
  type BatchSchedulerOptions,
  createBatchScheduler,
  QueueFullError,
} from "./generation/batch-scheduler.ts";
export { type BeamSearchOptions, beamSearch, type Hypothesis } from "./generation/beam-search.ts";
export {
  type Continued,
  type CreateDecoderOptions,
  createDecoder,
  type Decoder,
  type Draw,
  type NewTokens,
  type Reading,
} from "./generation/decoder.ts";
export type { SamplingOptions } from "./generation/draw-tokens.ts";
export { type GeneratedToken, type GenerateOptions, generate, generateIds } from "./generation/generate.ts";
export type { PrefixCacheOptions } from "./generation/prefix-cache.ts";
export type { PromptScore } from "./generation/prompt-scores.ts";
export {
  allowTokens,
  drawByGumbel,
  drawByInverseCdf,
  drawGreedily,
  frequencyPresencePenalty,
  minP,
  noRepeatNgrams,
  repetitionPenalty,
  temperature,
  tokenCounts,
  topK,
  topP,
  typical,
} from "./generation/sampling-filters.ts";
export {
  createGpt2,
  type Gpt2,
  type Gpt2Block,
  type Gpt2Config,
  type Gpt2Params,
  gpt2HiddenStates,
  gpt2Lm,
  gpt2Logits,
  gpt2Loss,
  gpt2Presets,
} from "./gpt2.ts";
export {
  type DownloadPretrainedOptions,
  downloadPretrained,
  type HubOptions,
  type HubProgress,
} from "./hub/download-pretrained.ts";
export { HubError } from "./hub/hub-error.ts";
export type { DownloadedModel } from "./hub/hub-store.ts";
export type { ModelPart } from "./hub/needed-files.ts";
export {
  concatKvCaches,
  copyKvCacheRows,
  createKvCache,
  gatherKvCacheRows,
  type KvCache,
  type KvCacheRows,
  takeKvCacheRow,
} from "./kv-cache.ts";
export {
  createLlama,
  type Llama,
  type LlamaBlock,
  type LlamaConfig,
  type LlamaParams,
  llamaHidden,
  llamaLm,
  llamaLogits,
  llamaLoss,
  llamaPresets,
} from "./llama.ts";
export {
  applyLora,
  attachLora,
  createLora,
  type Lora,
  type LoraConfig,
  type LoraFactors,
  type LoraParams,
  type LoraTree,
  loraLm,
  mergeLora,
  trainsLora,
} from "./lora.ts";
export { decodeLora, encodeLora, type LoraFileOptions, type LoraFiles, loadLora, saveLora } from "./lora-files.ts";
export {
  holdsSeveral,
  joinParts,
  type PackedRows,
  type PackingOptions,
  packDocuments,
  packedBatches,
  packStream,
  type TextPart,
  type TokenBatch,
  type TokenDocument,
} from "./packing.ts";
export type { Affine, Weight } from "./param-makers.ts";
export type { PublishedConfig } from "./pretrained/config-fields.ts";
export {
  type ConvertedModel,
  type LoadedConverted,
  loadConverted,
  saveConverted,
} from "./pretrained/converted-files.ts";
export { loadLlama2c } from "./pretrained/llama2c.ts";
export type { ModelSource, OpenModelOptions } from "./pretrained/model-folder.ts";
export {
  type ArchitectureName,
  encodePretrained,
  type LoadPretrainedOptions,
  loadPretrained,
  type PretrainedModel,
  pretrainedLm,
  type SavePretrainedOptions,
  savePretrained,
} from "./pretrained/pretrained.ts";
export type { RopeScaling } from "./rope-scaling.ts";
export {
  type ContinuationScore,
  type Perplexity,
  type PerplexityOptions,
  perplexity,
  type ScoredText,
  type ScoringOptions,
  scoreContinuations,
} from "./scoring.ts";
export {
  createT5,
  type T5,
  type T5Attention,
  type T5Config,
  type T5CrossAttention,
  type T5CrossKeys,
  type T5FeedForward,
  type T5Options,
  type T5Params,
  type T5SelfAttention,
  t5DecoderIds,
  t5Encode,
  t5Logits,
  t5Loss,
  t5Presets,
} from "./t5.ts";
export {
  createT5Cache,
  type T5GenerateOptions,
  type T5Memory,
  type T5WriterParams,
  t5BeamSearch,
  t5Generate,
  t5GenerateIds,
  t5Lm,
  t5Read,
  t5Step,
} from "./t5-decoding.ts";
export {
  bertEmbeddings,
  type CausalEmbeddingOptions,
  gpt2Embeddings,
  llamaEmbeddings,
  type PoolingOptions,
  poolTokens,
} from "./text-embeddings.ts";
export {
  type CorruptedIds,
  type CorruptSpansOptions,
  corruptSpans,
  type MaskTokensOptions,
  maskTokens,
} from "./tuning/corruption.ts";
export { type DistillationOptions, type DistillationResult, distillationLoss } from "./tuning/distillation.ts";
export { documentPerplexity } from "./tuning/document-perplexity.ts";
export { type LanguageModelLossOptions, languageModelLoss } from "./tuning/language-model-loss.ts";
export { type PaddedBatchesOptions, paddedBatches } from "./tuning/padded-batches.ts";
export {
  type DpoOptions,
  type DpoResult,
  dpoLoss,
  type PreferenceBatch,
  type PreferenceLossOptions,
  type PreferencePair,
  preferenceBatches,
  preferenceLoss,
  sequenceLogProbs,
  withReference,
} from "./tuning/preference.ts";
export { createSequenceHead, type SequenceHead, sequenceLogits } from "./tuning/sequence-head.ts";
