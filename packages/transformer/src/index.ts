export { type CausalLm, type CausalLogitsOptions, checkIdRange } from "./causal-lm.ts";
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
export { type CreateKvCacheOptions, createKvCache, type KvCache, reorderKvCache } from "./kv-cache.ts";
