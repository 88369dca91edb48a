import { DataUnavailableError } from "@genai/datasets";

/** A library that encodes with GPT-2's vocabulary. */
export interface Gpt2Encoder {
  readonly name: string;
  readonly version: string;
  encode(text: string): ArrayLike<number>;
}

/** An encoder that is loaded when it is its turn. */
export interface Gpt2Library {
  readonly name: string;
  load(): Promise<Gpt2Encoder>;
}

/** GPT-2's vocabulary among the data sets. */
export async function gpt2Folder(): Promise<string> {
  const folder = process.env.GENAI_DATA_DIR;
  if (!folder)
    throw new DataUnavailableError(
      "The benchmarks of tokenizers need GENAI_DATA_DIR, with GPT-2's files in tokenizers/gpt2",
    );
  const { join } = await import("node:path");
  return join(folder, "tokenizers", "gpt2");
}

// The specifiers are hidden from the bundler: the peers are there in this repository only.
const importPeer = (specifier: string): Promise<Record<string, unknown>> => import(specifier);

async function versionOf(name: string): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  const { createRequire } = await import("node:module");
  const require = createRequire(import.meta.url);
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return JSON.parse(await readFile(`${folder}/${name}/package.json`, "utf8")).version;
    } catch {}
  }
  return "unknown";
}

/** This library, from the folder of GPT-2's files. */
export const ours: Gpt2Library = {
  name: "@genai/tokenizer",
  async load() {
    const { loadTokenizer } = await import("@genai/tokenizer");
    const tokenizer = await loadTokenizer(await gpt2Folder());
    return { name: this.name, version: "this", encode: (text) => tokenizer.encode(text).ids };
  },
};

/** The others: three in JavaScript, and tiktoken's Rust compiled to WebAssembly. */
export const peers: readonly Gpt2Library[] = [
  {
    name: "gpt-tokenizer",
    async load() {
      const module = (await importPeer("gpt-tokenizer/encoding/gpt2")) as {
        encode(text: string, options: { disallowedSpecial: Set<string> }): number[];
      };
      const options = { disallowedSpecial: new Set<string>() };
      return { name: this.name, version: await versionOf(this.name), encode: (text) => module.encode(text, options) };
    },
  },
  {
    name: "@huggingface/tokenizers",
    async load() {
      const { readFile } = await import("node:fs/promises");
      const { Tokenizer } = (await importPeer(this.name)) as {
        Tokenizer: new (json: unknown, config: unknown) => { encode(text: string): { ids: number[] } };
      };
      const json = JSON.parse(await readFile(`${await gpt2Folder()}/tokenizer.json`, "utf8"));
      const tokenizer = new Tokenizer(json, {});
      return { name: this.name, version: await versionOf(this.name), encode: (text) => tokenizer.encode(text).ids };
    },
  },
  {
    name: "js-tiktoken",
    async load() {
      const { Tiktoken } = (await importPeer("js-tiktoken/lite")) as {
        Tiktoken: new (ranks: unknown) => { encode(text: string, allowed: string[], disallowed: string[]): number[] };
      };
      const tokenizer = new Tiktoken((await importPeer("js-tiktoken/ranks/gpt2")).default);
      const version = await versionOf(this.name);
      return { name: this.name, version, encode: (text) => tokenizer.encode(text, [], []) };
    },
  },
  {
    name: "tiktoken",
    async load() {
      const module = await importPeer("tiktoken");
      const { get_encoding } = (module.default ?? module) as {
        get_encoding(name: string): { encode(text: string, allowed: string[], disallowed: string[]): Uint32Array };
      };
      const tokenizer = get_encoding("gpt2");
      const version = await versionOf(this.name);
      return { name: this.name, version, encode: (text) => tokenizer.encode(text, [], []) };
    },
  },
];

/** One MB, half English and half code: WikiText and Shakespeare, and TensorFlow.js as it is published, in turns of 16 KB. */
export async function mixedText(size = 1_000_000): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  const { createRequire } = await import("node:module");
  const folder = process.env.GENAI_DATA_DIR!;
  const wiki = await readFile(`${folder}/wikitext-2/test.txt`, "utf8");
  const plays = await readFile(`${folder}/tinyshakespeare/input.txt`, "utf8");
  const english = wiki.slice(0, size / 4) + plays.slice(0, size / 4);
  const script = createRequire(import.meta.url).resolve("@tensorflow/tfjs/dist/tf.fesm.js");
  const code = (await readFile(script, "utf8")).slice(500_000, 500_000 + size / 2);
  let text = "";
  for (let at = 0; at < size / 2; at += 16_384) text += english.slice(at, at + 16_384) + code.slice(at, at + 16_384);
  return text;
}
