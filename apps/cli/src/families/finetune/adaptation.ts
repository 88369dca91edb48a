import { countParams, type ParamFilter, type Rng, type Tree, treeDispose, treeEntries } from "@genai/core";
import {
  type CausalLm,
  createLora,
  type LoraConfig,
  type LoraTree,
  loadLora,
  loadPretrained,
  loraLm,
  type PretrainedModel,
  pretrainedLm,
  saveLora,
  trainsLora,
} from "@genai/transformer";
import { UsageError } from "../../exit-code.ts";
import { publishedBaseName } from "../../text/hub-model.ts";
import { writeModel, writeTokenizer } from "../../text/model-files.ts";
import { adapterFolderOf, modelFolderOf, type TextModel } from "../../text/text-model.ts";
import { endIdOf } from "../../text/text-vocabulary.ts";

export interface AdaptationOptions {
  /** What learns. */
  readonly method: "lora" | "full";
  readonly rank: number;
  /** Twice the rank if null. */
  readonly alpha: number | null;
  readonly loraDropout: number;
  readonly rankStabilised: boolean;
  /** Names of layers; all linear layers of the blocks if empty. */
  readonly targets: readonly string[];
  /** With method full: blocks, from the embeddings on, that stay as they are. */
  readonly freeze: number;
}

/** A model as it is tuned. */
export interface Adaptation {
  readonly lm: CausalLm;
  /** The state's parameters, which hold the base model's tensors. */
  readonly params: Tree;
  readonly trainable: ParamFilter;
  /** How many parameters learn. */
  readonly trained: number;
  /** "LoRA of rank 8 on c_attn, c_proj" */
  readonly summary: string;
  /** Writes what was learned into a run's folder, so that `openTextModel` opens it. */
  save(params: Tree, dir: string): Promise<void>;
  /** Reads it back; the rest of the parameters are those given. */
  load(params: Tree, dir: string): Promise<{ readonly params: Tree; dispose(): void }>;
}

const linearLayers: Readonly<Record<string, readonly string[]>> = {
  gpt2: ["c_attn", "c_proj", "c_fc"],
  llama: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

/** @throws UsageError for layers or blocks that the model does not have */
export function adapt(base: TextModel, from: string, options: AdaptationOptions, rng: Rng): Adaptation {
  return options.method === "lora" ? lowRank(base, from, options, rng) : whole(base, options);
}

function lowRank(base: TextModel, from: string, options: AdaptationOptions, rng: Rng): Adaptation {
  const { rank, alpha, loraDropout, rankStabilised } = options;
  const targets = options.targets.length > 0 ? options.targets : linearLayers[base.architecture]!;
  const config: LoraConfig = {
    rank,
    alpha: alpha ?? 2 * rank,
    targets,
    ...(base.architecture === "gpt2" ? { fanInFanOut: true } : {}),
    ...(loraDropout > 0 ? { dropout: loraDropout } : {}),
    ...(rankStabilised ? { rankStabilised } : {}),
  };
  let lora: ReturnType<typeof createLora>;
  try {
    lora = createLora(base.params, config, rng);
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/^createLora: /, "--targets, --rank or --alpha: "));
  }
  // Hugging Face's GPT-2 has its blocks below `transformer`; our paths are the published names without it.
  const prefix = base.architecture === "gpt2" ? "transformer." : "";
  const lm = loraLm(base.lm, config) as unknown as CausalLm;
  const treeOf = (params: Tree) => params as LoraTree;
  return {
    lm,
    params: { base: base.params, lora: lora.params } satisfies LoraTree,
    trainable: trainsLora,
    trained: countParams(lora.params),
    summary: `LoRA of rank ${rank} on ${targets.join(", ")}`,
    save: (params, dir) =>
      saveLora(
        adapterFolderOf(dir),
        { config, params: treeOf(params).lora },
        { prefix, baseModel: publishedBaseName(from) },
      ),
    async load(params, dir) {
      const saved = await loadLora(adapterFolderOf(dir), { prefix });
      return { params: { base: treeOf(params).base, lora: saved.params }, dispose: () => treeDispose(saved.params) };
    },
  };
}

function whole(base: TextModel, { freeze }: AdaptationOptions): Adaptation {
  const { pretrained, tokenizer, lm } = base;
  const blocks = pretrained.config as { readonly nLayer: number };
  if (freeze > blocks.nLayer) {
    throw new UsageError(`--freeze ${freeze}: the model has ${blocks.nLayer} blocks; expected at most as many`);
  }
  const isFrozen = (path: string): boolean => {
    if (freeze === 0) return false;
    const block = /^(?:h|model\.layers)\.(\d+)\./.exec(path);
    // Tied heads are embeddings and stay too.
    return block ? Number(block[1]) < freeze : /^(wte|wpe|model\.embed_tokens)\./.test(path);
  };
  const trainable: ParamFilter = (path) => !isFrozen(path);
  const trained = countParams(treeEntries(base.params).flatMap(([path, x]) => (isFrozen(path) ? [] : [x])));
  const endId = base.stopIds[0] ?? endIdOf(tokenizer);
  return {
    lm,
    params: base.params,
    trainable,
    trained,
    summary:
      freeze > 0 ? `all but the embeddings and the first ${freeze} of ${blocks.nLayer} blocks` : "all parameters",
    async save(params, dir) {
      const folder = modelFolderOf(dir);
      await writeTokenizer(folder, tokenizer, { endId, begins: false, blockSize: lm.blockSize });
      await writeModel(folder, { ...pretrained, params } as PretrainedModel, endId);
    },
    async load(_, dir) {
      const saved = await loadPretrained(modelFolderOf(dir));
      pretrainedLm(saved);
      return { params: saved.params, dispose: () => treeDispose(saved.params) };
    },
  };
}
