import {
  type ByteSourceInput,
  concatBytes,
  encodeSafetensors,
  FormatError,
  openByteSource,
  openSafetensors,
  treeDispose,
  treeEntries,
  writeFileAtomic,
} from "@genai/core";
import { checkLoraConfig, type Lora, type LoraConfig, type LoraFactors } from "./lora.ts";

// Adapters in the format of Hugging Face's PEFT: adapter_config.json and adapter_model.safetensors.

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

/** The files of an adapter, by name. */
export type LoraFiles<F = Uint8Array> = Readonly<Record<typeof CONFIG | typeof WEIGHTS, F>>;

export interface LoraFileOptions {
  /** What the published names of the model's layers begin with: "transformer." for GPT-2 language models. Default none. */
  readonly prefix?: string;
}

const ROOT = "base_model.model.";

/**
 * Encodes an adapter as PEFT does.
 *
 * @param options.baseModel name of the model it belongs to, for the reader
 */
export async function encodeLora(
  { config, params }: Lora,
  options: LoraFileOptions & { readonly baseModel?: string } = {},
): Promise<LoraFiles> {
  const { prefix = "", baseModel = null } = options;
  const entries = treeEntries(params).map(([path, tensor]) => [`${ROOT}${prefix}${path}`, tensor] as const);
  const json = {
    base_model_name_or_path: baseModel,
    bias: "none",
    fan_in_fan_out: config.fanInFanOut ?? false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout ?? 0,
    modules_to_save: null,
    peft_type: "LORA",
    r: config.rank,
    target_modules: config.targets,
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: config.rankStabilised ?? false,
  };
  return {
    [CONFIG]: new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`),
    [WEIGHTS]: concatBytes(await encodeSafetensors(entries, { format: "pt" })),
  };
}

/**
 * Writes an adapter's files into a folder (Node), which is made if it is not there. Each is there whole or not at all.
 */
export async function saveLora(
  folder: string,
  lora: Lora,
  options: LoraFileOptions & { readonly baseModel?: string } = {},
): Promise<void> {
  const files = await encodeLora(lora, options);
  const [{ mkdir }, { join }] = await Promise.all([import("node:fs/promises"), import("node:path")]);
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) {
    await writeFileAtomic(join(folder, name), bytes, "saveLora");
  }
}

/** Reads an adapter from a folder (Node); errors as of `decodeLora`. */
export async function loadLora(folder: string, options: LoraFileOptions = {}): Promise<Lora> {
  const at = folder.replace(/[/\\]+$/, "");
  return decodeLora({ [CONFIG]: `${at}/${CONFIG}`, [WEIGHTS]: `${at}/${WEIGHTS}` }, options);
}

/**
 * Decodes an adapter of PEFT's.
 *
 * @param files bytes, Blobs, paths (Node) or addresses of the two files
 * @returns an adapter whose tensors the caller owns
 * @throws FormatError for adapters of another kind (DoRA, trained biases, ranks of their own for some layers) and for
 *   names that are no factors of layers under the prefix
 */
export async function decodeLora(files: LoraFiles<ByteSourceInput>, options: LoraFileOptions = {}): Promise<Lora> {
  const { prefix = "" } = options;
  const json = parseConfig(await readAll(files[CONFIG]));
  const file = await openSafetensors(files[WEIGHTS], "decodeLora");
  const params: Record<string, Partial<LoraFactors>> = {};
  try {
    for (const name of file.tensors.keys()) {
      const begin = `${ROOT}${prefix}`;
      const [, layer, factor] = /^(.+)\.(lora_[AB])\.weight$/.exec(name.slice(begin.length)) ?? [];
      if (!name.startsWith(begin) || layer === undefined) {
        throw new FormatError(
          `decodeLora: tensor '${name}'; expected names such as '${begin}LAYER.lora_A.weight' (prefix '${prefix}')`,
        );
      }
      params[layer] = { ...params[layer], [factor as keyof LoraFactors]: { weight: await file.tensor(name) } };
    }
    for (const [layer, { lora_A, lora_B }] of Object.entries(params)) {
      if (lora_A && lora_B) continue;
      throw new FormatError(`decodeLora: ${layer} has only one of lora_A and lora_B; expected both`);
    }
    const layers = Object.keys(params);
    if (layers.length === 0) throw new FormatError("decodeLora: the file holds no factors; expected at least one pair");
    const config: LoraConfig = { ...json, targets: json.targets ?? layers };
    checkLoraConfig("decodeLora", config);
    return { config, params: params as Record<string, LoraFactors> };
  } catch (error) {
    treeDispose(params);
    throw error;
  } finally {
    await file.close();
  }
}

const MAX_CONFIG_BYTES = 10_000_000;

async function readAll(input: ByteSourceInput): Promise<Uint8Array> {
  const source = await openByteSource(input, "decodeLora");
  try {
    if (source.size > MAX_CONFIG_BYTES) {
      throw new FormatError(`decodeLora: ${CONFIG} holds ${source.size} bytes; expected at most ${MAX_CONFIG_BYTES}`);
    }
    return await source.read(0, source.size);
  } finally {
    await source.close?.();
  }
}

type ParsedConfig = Omit<LoraConfig, "targets"> & { readonly targets?: readonly string[] };

function parseConfig(bytes: Uint8Array): ParsedConfig {
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new FormatError(`decodeLora: ${CONFIG} is no JSON`, { cause });
  }
  if (typeof json !== "object" || json === null) throw new FormatError(`decodeLora: ${CONFIG} is no JSON record`);
  const refuse = (field: string, expected: string) => {
    throw new FormatError(`decodeLora: ${field} is ${JSON.stringify(json[field])}; expected ${expected}`);
  };
  const isEmpty = (value: unknown) =>
    value === undefined || value === null || (typeof value === "object" && Object.keys(value).length === 0);
  if (json.peft_type !== "LORA") refuse("peft_type", "LORA");
  if (json.use_dora) refuse("use_dora", "false");
  if (json.bias !== undefined && json.bias !== "none") refuse("bias", "none");
  for (const field of ["modules_to_save", "rank_pattern", "alpha_pattern"]) {
    if (!isEmpty(json[field])) refuse(field, "none");
  }
  const { r, lora_alpha: alpha, fan_in_fan_out: fanInFanOut, target_modules: targets, lora_dropout: dropout } = json;
  if (typeof r !== "number") refuse("r", "a number");
  if (typeof alpha !== "number") refuse("lora_alpha", "a number");
  return {
    rank: r as number,
    alpha: alpha as number,
    ...(json.use_rslora ? { rankStabilised: true } : {}),
    ...(typeof dropout === "number" && dropout > 0 ? { dropout } : {}),
    ...(fanInFanOut ? { fanInFanOut: true } : {}),
    // PEFT also takes a regular expression here; the layers then are those of the file.
    ...(Array.isArray(targets) && { targets: targets as string[] }),
  };
}
