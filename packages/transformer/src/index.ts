export { type CausalLm, type CausalLogitsOptions, checkIdRange } from "./causal-lm.ts";
export { type CreateKvCacheOptions, createKvCache, type KvCache, reorderKvCache } from "./kv-cache.ts";
