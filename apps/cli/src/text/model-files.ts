import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@genai/core";
import type { Tokenizer } from "@genai/tokenizer";
import { type PretrainedModel, savePretrained } from "@genai/transformer";

// The folder of a language model as Hugging Face's libraries read it: config.json, model.safetensors, tokenizer.json,
// tokenizer_config.json and, where texts have an end, generation_config.json.

/** A tokenizer that puts the end token before every text: a document begins where another ended. */
export function beginningWith(tokenizer: Tokenizer, endId: number): ReturnType<Tokenizer["toJson"]> {
  const token = tokenizer.idToToken(endId)!;
  const special = { SpecialToken: { id: token, type_id: 0 } };
  const text = (id: "A" | "B") => ({ Sequence: { id, type_id: id === "A" ? 0 : 1 } });
  return {
    ...tokenizer.toJson(),
    post_processor: {
      type: "TemplateProcessing",
      single: [special, text("A")],
      pair: [special, text("A"), text("B")],
      special_tokens: { [token]: { id: token, ids: [endId], tokens: [token] } },
    },
  };
}

export interface TokenizerFilesOptions {
  /** Ends texts. */
  readonly endId: number | undefined;
  /** Whether texts begin with it. */
  readonly begins: boolean;
  readonly blockSize: number;
}

/** Writes a tokenizer's files. */
export async function writeTokenizer(
  folder: string,
  tokenizer: Tokenizer,
  { endId, begins, blockSize }: TokenizerFilesOptions,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const write = (file: string, json: unknown) =>
    writeFileAtomic(join(folder, file), `${JSON.stringify(json, null, 2)}\n`, "writeTokenizer");
  const end = endId === undefined ? undefined : tokenizer.idToToken(endId);
  await write("tokenizer.json", begins && endId !== undefined ? beginningWith(tokenizer, endId) : tokenizer.toJson());
  await write("tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    model_max_length: blockSize,
    ...tokenizer.config,
    ...(end === undefined ? {} : { ...(begins ? { bos_token: end } : {}), eos_token: end }),
  });
  if (endId === undefined) return;
  await write("generation_config.json", { ...(begins ? { bos_token_id: endId } : {}), eos_token_id: endId });
}

/** Writes config.json and the weights. */
export async function writeModel(folder: string, model: PretrainedModel, endId: number | undefined): Promise<void> {
  const ends = endId === undefined ? {} : { eos_token_id: endId };
  const { published = {} } = model;
  await savePretrained(folder, { ...model, published: { ...published, ...ends } });
}

/** Writes what ends texts, if anything does. */
export async function writeStopIds(folder: string, stopIds: readonly number[]): Promise<void> {
  if (stopIds.length === 0) return;
  const json = JSON.stringify({ eos_token_id: stopIds.length === 1 ? stopIds[0] : stopIds }, null, 2);
  await writeFileAtomic(join(folder, "generation_config.json"), `${json}\n`, "writeStopIds");
}
