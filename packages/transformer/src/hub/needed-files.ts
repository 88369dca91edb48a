/** What is wanted of a model's files: "model" is configuration and weights. */
export type ModelPart = "model" | "tokenizer";

const CONFIG = "config.json";
const INDEX = "model.safetensors.index.json";
const ADAPTER = "adapter_config.json";

/** The tokenizers that `loadTokenizer` reads, the best first: of each the file that must be there, and what goes with it. */
const TOKENIZERS: readonly (readonly [string, ...string[]])[] = [
  ["tokenizer.json"],
  ["vocab.json", "merges.txt"],
  ["tokenizer.model"],
  ["spiece.model"],
  ["sentencepiece.bpe.model"],
  ["vocab.txt"],
];
const BESIDE_TOKENIZER = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
];

/** The files of a repository that are needed, by name. */
export interface NeededFiles {
  readonly files: readonly string[];
  /** The file that says which shards of the weights are needed too. */
  readonly index?: string;
  /** What is missing, in words; undefined if nothing is. */
  readonly missing?: string;
}

/** Which of the files in the first folder of a repository are needed. */
export function neededFiles(names: readonly string[], parts: readonly ModelPart[]): NeededFiles {
  const there = new Set(names);
  const some = (wanted: readonly string[]) => wanted.filter((name) => there.has(name));
  const files: string[] = [];
  let index: string | undefined;
  let missing: string | undefined;
  if (parts.includes("model")) {
    const adapter = !there.has(CONFIG) && there.has(ADAPTER);
    files.push(...some(adapter ? [ADAPTER] : [CONFIG, "generation_config.json"]));
    const weights = adapter ? "adapter_model.safetensors" : "model.safetensors";
    if (there.has(weights)) files.push(weights);
    else if (!adapter && there.has(INDEX)) index = INDEX;
    else missing = `${weights}${otherWeights(names)}`;
    if (!adapter && !there.has(CONFIG)) missing = CONFIG;
  }
  if (parts.includes("tokenizer")) {
    const found = TOKENIZERS.find(([first]) => there.has(first));
    // The tokenizer itself last: where it is, the others have come too.
    if (found) files.push(...some([...BESIDE_TOKENIZER, ...[...found].reverse()]));
    else if (!parts.includes("model")) missing = "tokenizer.json, or another file of a tokenizer";
  }
  return { files, ...(index === undefined ? {} : { index }), ...(missing === undefined ? {} : { missing }) };
}

function otherWeights(names: readonly string[]): string {
  const other = names.find((name) => /\.(bin|pt|pth|gguf|h5|msgpack|onnx)$/.test(name));
  if (other === undefined) return "";
  return ` (there is ${other}, which is not read: look for a revision such as refs/pr/1 with safetensors, or convert it)`;
}

/**
 * The shards that an index names.
 *
 * @throws if it is no index, or names what is no plain file name.
 */
export function shardsOf(caller: string, index: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(index) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw new Error(`${caller}: ${INDEX} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new Error(`${caller}: ${INDEX} has no weight_map; expected a record of tensor names and file names`);
  }
  const shards = [...new Set(Object.values(map))];
  for (const shard of shards) {
    if (typeof shard === "string" && isPlainName(shard)) continue;
    throw new Error(`${caller}: ${INDEX} names ${JSON.stringify(shard)}; expected the plain name of a file`);
  }
  return shards as string[];
}

/** Whether a name is that of a file in a folder and nothing else: names become paths of the cache. */
export const isPlainName = (name: string): boolean => /^[^/\\\0]+$/.test(name) && name !== "." && name !== "..";
