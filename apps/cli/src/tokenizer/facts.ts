import type { StageJson, Tokenizer } from "@genai/tokenizer";

/** What `genai tokenizer info` says. */
export interface TokenizerFacts {
  readonly model: string;
  readonly vocabSize: number;
  readonly merges: number | null;
  readonly specialTokens: readonly { readonly id: number; readonly content: string }[];
  readonly addedTokens: number;
  readonly normalizer: string | null;
  readonly preTokenizer: string | null;
  readonly postProcessor: string | null;
  readonly decoder: string | null;
  readonly chatTemplate: boolean;
}

export function tokenizerFacts(tokenizer: Tokenizer): TokenizerFacts {
  const json = tokenizer.toJson();
  const added = tokenizer.addedTokens;
  return {
    model: tokenizer.modelKind,
    vocabSize: tokenizer.vocabSize,
    merges: json.model.type === "BPE" ? json.model.merges.length : null,
    specialTokens: added.filter(({ special }) => special).map(({ id, content }) => ({ id, content })),
    addedTokens: added.filter(({ special }) => !special).length,
    normalizer: stageNames(json.normalizer),
    preTokenizer: stageNames(json.pre_tokenizer),
    postProcessor: stageNames(json.post_processor),
    decoder: stageNames(json.decoder),
    chatTemplate: tokenizer.config.chat_template !== undefined && tokenizer.config.chat_template !== null,
  };
}

/** "NFC, Split, ByteLevel": the stages of a sequence in their order. */
function stageNames(stage: StageJson | null | undefined): string | null {
  if (stage === null || stage === undefined) return null;
  const parts = stage.normalizers ?? stage.pretokenizers ?? stage.processors ?? stage.decoders;
  if (stage.type !== "Sequence" || !Array.isArray(parts)) return stage.type;
  return parts.map((part: StageJson) => stageNames(part)).join(", ") || null;
}
