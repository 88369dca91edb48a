export type { Activation } from "./activation.ts";
export { type CausalLm, type CausalLogitsOptions, checkIdRange, nextTokens } from "./causal-lm.ts";
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
  gpt2Step,
} from "./gpt2.ts";
export { type CreateKvCacheOptions, createKvCache, type KvCache, reorderKvCache } from "./kv-cache.ts";
export type { Affine, Weight } from "./param-makers.ts";
