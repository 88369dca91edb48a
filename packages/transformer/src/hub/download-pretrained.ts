import { isNode, throwIfAborted } from "@genai/core";
import { createHubClient, endpointOf, environment, type HubClientOptions, type HubFile } from "./hub-client.ts";
import { HubError } from "./hub-error.ts";
import { isCommit, parseHubName } from "./hub-name.ts";
import type { DownloadedModel, HubStore } from "./hub-store.ts";
import { isPlainName, type ModelPart, neededFiles, shardsOf } from "./needed-files.ts";

/** How far a download is; files that are in the cache already count as loaded. */
export interface HubProgress {
  /** The file at hand. */
  readonly file: string;
  readonly loadedBytes: number;
  /** Of all files that are needed. */
  readonly totalBytes: number;
}

export interface HubOptions extends HubClientOptions {
  /**
   * The cache's folder (Node). Default that of Python's huggingface_hub: HF_HUB_CACHE, or `hub` in HF_HOME, or
   * `~/.cache/huggingface/hub`.
   */
  readonly cacheDir?: string;
  /** Asks no server and takes what is in the cache; by default if HF_HUB_OFFLINE is 1. */
  readonly offline?: boolean;
  readonly onProgress?: (progress: HubProgress) => void;
}

export interface DownloadPretrainedOptions extends HubOptions {
  /** A branch, tag or commit; "main" by default. With a commit whose files are in the cache no server is asked. */
  readonly revision?: string;
  /** What is wanted: default both. */
  readonly parts?: readonly ModelPart[];
}

/**
 * Brings the files of a model from the Hugging Face hub into the cache and says where they are: a folder in Node, files by
 * name in browsers. Both are what `loadPretrained` and the tokenizer package's `loadTokenizer` read. Fetches configuration,
 * safetensors and tokenizer alone, and what is not there yet; a transfer that broke is gone on with. Needs the package
 * `@huggingface/hub`.
 *
 * @param name "OWNER/NAME", "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION"
 * @throws HubError if the model is not there, is gated, has no safetensors, does not arrive as the hub lists it, or cannot
 *   be reached and is not in the cache; AbortError when the signal fires.
 */
export async function downloadPretrained(
  name: string,
  options: DownloadPretrainedOptions = {},
): Promise<DownloadedModel> {
  const caller = "downloadPretrained";
  const { parts = ["model", "tokenizer"], signal, onProgress } = options;
  const { repo, revision } = parseHubName(caller, name, options.revision);
  throwIfAborted(caller, signal);
  const endpoint = endpointOf(options);
  const place = { caller, repo, endpoint, cacheDir: options.cacheDir, signal };
  // Two imports, so that a page loads neither Node's modules nor the code that asks for them.
  const store = isNode()
    ? await (await import("./disk-store.ts")).openDiskStore(place)
    : await (await import("./browser-store.ts")).openBrowserStore(place);

  /** What is in the cache, if it is enough. `sure` asks for a tokenizer too, which may be there or not. */
  const inCache = async (sure: boolean): Promise<DownloadedModel | undefined> => {
    const commit = isCommit(revision) ? revision : await store.commitOf(revision);
    if (commit === undefined) return undefined;
    const here = await store.names(commit);
    if (sure && parts.includes("tokenizer") && neededFiles(here, ["tokenizer"]).missing) return undefined;
    const names = await cachedFiles(caller, store, commit, here, parts);
    return names && store.open(commit, names);
  };
  if (options.offline ?? /^(1|true|yes|on)$/i.test(environment("HF_HUB_OFFLINE") ?? "")) {
    const cached = await inCache(false);
    if (cached !== undefined) return cached;
    throw new HubError(
      `${caller}: ${repo} at ${revision} is not, or not whole, in ${store.place}, and offline is set; expected to find it ` +
        "there, or leave to download it",
    );
  }
  if (isCommit(revision)) {
    const cached = await inCache(true);
    if (cached !== undefined) return cached;
  }

  const client = await createHubClient(caller, repo, options);
  let commit: string;
  let listed: readonly HubFile[];
  try {
    commit = isCommit(revision) ? revision : await client.commitOf(revision);
    listed = await client.list(commit);
  } catch (error) {
    // What was refused stays refused; a hub that is out of reach or out of order is done without.
    if (!(error instanceof HubError) || (error.status !== undefined && error.status < 500)) throw error;
    const cached = await inCache(false);
    if (cached !== undefined) return cached;
    throw new HubError(
      `${error.message}, and the model is not whole in ${store.place}; connect to the network, set HF_ENDPOINT to a ` +
        "mirror, or give the folder of a model that was downloaded elsewhere",
      { cause: error },
    );
  }

  const byName = new Map(listed.filter(({ name }) => isPlainName(name)).map((file) => [file.name, file]));
  const { files: names, index, missing } = neededFiles([...byName.keys()], parts);
  if (missing !== undefined) throw new HubError(`${caller}: ${repo} at ${commit} has no ${missing}`);
  const needed = names.map((file) => byName.get(file)!);
  if (index !== undefined) {
    await store.add(commit, byName.get(index)!, client, () => {});
    for (const shard of shardsOf(caller, await store.readText(commit, index))) {
      const file = byName.get(shard);
      if (!file) throw new HubError(`${caller}: ${repo} at ${commit} has no ${shard}, which ${index} names`);
      needed.push(file);
    }
    needed.push(byName.get(index)!);
  }
  const totalBytes = needed.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const file of needed) {
    throwIfAborted(caller, signal);
    await store.add(commit, file, client, (bytes) =>
      onProgress?.({ file: file.name, loadedBytes: before + bytes, totalBytes }),
    );
    before += file.size;
  }
  if (!isCommit(revision)) await store.remember(revision, commit);
  return store.open(
    commit,
    needed.map(({ name }) => name),
  );
}

/** The needed files of a commit if all are among those here; of a tokenizer beside a model whatever is there. */
async function cachedFiles(
  caller: string,
  store: HubStore,
  commit: string,
  here: readonly string[],
  parts: readonly ModelPart[],
): Promise<string[] | undefined> {
  const { files, index, missing } = neededFiles(here, parts);
  if (missing !== undefined || files.length === 0) return undefined;
  if (index === undefined) return [...files];
  const shards = shardsOf(caller, await store.readText(commit, index));
  return shards.every((shard) => here.includes(shard)) ? [...files, index, ...shards] : undefined;
}
