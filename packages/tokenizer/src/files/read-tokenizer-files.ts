import { TokenizerFormatError } from "../errors.ts";
import { asObject, type JsonObject } from "../json-fields.ts";
import type { AddedTokenJson, TokenizerJson } from "../tokenizer-json.ts";
import { type BertVocabOptions, readBertVocab } from "./bert-vocab.ts";
import { readClipVocab } from "./clip.ts";
import { type FileSource, type OpenSourceOptions, openFileSource, type TokenizerSource } from "./file-source.ts";
import { readGpt2Files } from "./gpt2-files.ts";
import { gunzip } from "./gunzip.ts";
import { readLlama2cTokenizer } from "./llama2c-tokenizer.ts";
import { readJson, readTokenizerJson } from "./read-json.ts";
import { readSentencePiece } from "./sentencepiece.ts";
import { addedToken } from "./stage-json.ts";
import { looksLikeTiktoken, readTiktoken, type TiktokenEncoding, type TiktokenName } from "./tiktoken.ts";

export interface ReadTokenizerOptions extends OpenSourceOptions {
  /** For tiktoken files: a known encoding, or the pattern and special tokens of another. */
  readonly encoding?: TiktokenName | TiktokenEncoding;
}

/** What the files of a tokenizer say. */
export interface TokenizerDescription {
  readonly json: TokenizerJson;
  /** Names the file in messages. */
  readonly source: string;
  /** The content of tokenizer_config.json beside it (chat template, special tokens); empty when there is none. */
  readonly config: JsonObject;
}

/**
 * Finds the tokenizer among files and reads it: tokenizer.json, or vocab.json + merges.txt, encoder.json + vocab.bpe,
 * *.tiktoken, spiece.model / tokenizer.model (SentencePiece, or Llama 3's ranks), llama2.c's tokenizer.bin, vocab.txt, or
 * CLIP's bpe_simple_vocab_16e6.txt.gz, in this order; and what tokenizer_config.json and special_tokens_map.json add to it.
 * Throws TokenizerFormatError for files that cannot be used, Error when none is there.
 */
export async function readTokenizerFiles(
  source: TokenizerSource,
  options: ReadTokenizerOptions = {},
): Promise<TokenizerDescription> {
  options.signal?.throwIfAborted();
  const files = await openFileSource(source, options);
  const listed = await files.list();
  const names = files.only === undefined ? listed : [files.only];
  const config = await withTemplate(files, listed, await readBeside(files, listed, "tokenizer_config.json"));
  const specials = await readBeside(files, listed, "special_tokens_map.json");
  for (const reader of readers) {
    const candidates = names?.filter((name) => reader.matches(name)) ?? reader.names;
    for (const name of candidates) {
      options.signal?.throwIfAborted();
      const content = await files.read(name);
      if (content === undefined) continue;
      const json = await reader.read({ files, name, content, config, options });
      if (json === undefined) continue;
      const label = files.label(name);
      return { json: withConfig(json, config, specials, label), source: label, config };
    }
  }
  if (files.only !== undefined)
    throw new Error(`loadTokenizer: ${files.label(files.only)} is no tokenizer that is known by its name; ${expected}`);
  throw new Error(`loadTokenizer: no tokenizer in ${files.name}; ${expected}`);
}

const expected =
  "expected tokenizer.json, vocab.json with merges.txt, encoder.json with vocab.bpe, *.tiktoken, *.model, tokenizer.bin, vocab.txt or bpe_simple_vocab_16e6.txt.gz";

interface Found {
  readonly files: FileSource;
  readonly name: string;
  readonly content: Uint8Array | string;
  readonly config: JsonObject;
  readonly options: ReadTokenizerOptions;
}

interface Reader {
  matches(name: string): boolean;
  /** Names that are tried where files cannot be listed. */
  readonly names: readonly string[];
  /** Undefined when another file that it needs is missing. */
  read(found: Found): TokenizerJson | undefined | Promise<TokenizerJson | undefined>;
}

/** Two files that go together; either may be the one that was asked for. */
function pairReader(vocabName: string, mergesName: string): Reader {
  return {
    names: [vocabName],
    matches: (name) => name === vocabName || name === mergesName,
    async read({ files, name, content, config }) {
      const otherName = name === vocabName ? mergesName : vocabName;
      const other = await files.read(otherName);
      if (other === undefined) {
        if (files.only === undefined) return undefined;
        throw new TokenizerFormatError(`${files.label(name)} needs ${otherName} beside it, which is missing`);
      }
      const [vocab, merges] = name === vocabName ? [content, other] : [other, content];
      return readGpt2Files(vocab, merges, {
        vocabSource: files.label(vocabName),
        mergesSource: files.label(mergesName),
        ...(typeof config.tokenizer_class === "string" ? { tokenizerClass: config.tokenizer_class } : {}),
      });
    },
  };
}

const bytesOf = (content: Uint8Array | string): Uint8Array =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

const readers: readonly Reader[] = [
  {
    names: ["tokenizer.json"],
    // A file that was asked for by name may have any name that ends so; the other kinds of JSON are told by theirs.
    matches: (name) =>
      name.endsWith(".json") &&
      !["vocab.json", "encoder.json", "tokenizer_config.json", "special_tokens_map.json"].includes(name),
    read({ files, name, content }) {
      if (name !== "tokenizer.json" && files.only === undefined) return undefined;
      return readTokenizerJson(content, files.label(name));
    },
  },
  pairReader("vocab.json", "merges.txt"),
  pairReader("encoder.json", "vocab.bpe"),
  {
    names: [],
    matches: (name) => name.endsWith(".tiktoken"),
    read: ({ files, name, content, options }) =>
      readTiktoken(content, {
        source: files.label(name),
        ...(options.encoding === undefined ? {} : { encoding: options.encoding }),
      }),
  },
  {
    names: ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model"],
    matches: (name) => name.endsWith(".model"),
    read({ files, name, content, config, options }) {
      const bytes = bytesOf(content);
      const source = files.label(name);
      if (looksLikeTiktoken(bytes))
        return readTiktoken(bytes, {
          source,
          ...(options.encoding === undefined ? {} : { encoding: options.encoding }),
        });
      return readSentencePiece(bytes, {
        source,
        ...(typeof config.add_bos_token === "boolean" ? { addBos: config.add_bos_token } : {}),
        ...(typeof config.add_eos_token === "boolean" ? { addEos: config.add_eos_token } : {}),
      });
    },
  },
  {
    names: ["tokenizer.bin"],
    matches: (name) => /^tok(enizer|\d+)\.bin$/.test(name),
    read: ({ files, name, content }) => readLlama2cTokenizer(bytesOf(content), { source: files.label(name) }),
  },
  {
    names: ["vocab.txt"],
    matches: (name) => name === "vocab.txt" || name.endsWith("-vocab.txt"),
    read: ({ files, name, content, config }) =>
      readBertVocab(content, { source: files.label(name), ...bertOptions(config) }),
  },
  {
    names: ["bpe_simple_vocab_16e6.txt.gz"],
    matches: (name) => /^bpe_simple_vocab_16e6\.txt(\.gz)?$/.test(name),
    read: ({ files, name, content }) => readClipVocab(content, files.label(name)),
  },
  {
    names: [],
    matches: (name) => name.endsWith("tokenizer.json.gz"),
    read: async ({ files, name, content }) =>
      readTokenizerJson(await gunzip(bytesOf(content), files.label(name)), files.label(name)),
  },
];

function bertOptions(config: JsonObject): BertVocabOptions {
  const { do_lower_case, strip_accents, tokenize_chinese_chars } = config;
  const token = (name: string) => {
    const content = contentOf(config[`${name}_token`]);
    return content === undefined ? {} : { [`${name}Token`]: content };
  };
  return {
    ...(typeof do_lower_case === "boolean" ? { lowercase: do_lower_case } : {}),
    ...(typeof strip_accents === "boolean" ? { stripAccents: strip_accents } : {}),
    ...(typeof tokenize_chinese_chars === "boolean" ? { handleChineseChars: tokenize_chinese_chars } : {}),
    ...token("unk"),
    ...token("cls"),
    ...token("sep"),
    ...token("pad"),
    ...token("mask"),
  };
}

/** A special token as configurations have it: a string, or a record with its content. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  if (typeof token !== "object" || token === null) return undefined;
  const { content } = token as { readonly content?: unknown };
  return typeof content === "string" ? content : undefined;
}

async function readBeside(files: FileSource, listed: readonly string[] | undefined, name: string): Promise<JsonObject> {
  if (listed !== undefined && !listed.includes(name)) return {};
  const content = await files.read(name);
  return content === undefined ? {} : asObject(readJson(content, files.label(name)), files.label(name));
}

/** The configuration with the chat template that newer files keep beside it. */
async function withTemplate(
  files: FileSource,
  listed: readonly string[] | undefined,
  config: JsonObject,
): Promise<JsonObject> {
  const name = "chat_template.jinja";
  // Where files cannot be listed, asking for one that is not there costs a request: only where a template may be.
  const likely = listed?.includes(name) ?? Object.keys(config).length > 0;
  if (config.chat_template !== undefined || !likely) return config;
  const content = await files.read(name);
  if (content === undefined) return config;
  return { ...config, chat_template: typeof content === "string" ? content : new TextDecoder().decode(content) };
}

/** Adds the tokens that the configuration knows and the description does not, as Hugging Face's library does. */
function withConfig(json: TokenizerJson, config: JsonObject, specials: JsonObject, source: string): TokenizerJson {
  const own: unknown = json.added_tokens ?? [];
  if (!Array.isArray(own) || own.some((token) => contentOf(token) === undefined)) return json; // refused later
  const added = new Map((own as AddedTokenJson[]).map((token) => [token.content, token]));
  const before = added.size;
  const byId = config.added_tokens_decoder;
  if (typeof byId === "object" && byId !== null) {
    for (const [key, value] of Object.entries(byId)) {
      const id = Number(key);
      const content = contentOf(value);
      if (content === undefined || !Number.isInteger(id) || id < 0 || added.has(content)) continue;
      const flag = (name: string) => (value as Record<string, unknown>)[name] === true;
      const flags = {
        single_word: flag("single_word"),
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        normalized: flag("normalized"),
        special: flag("special"),
      };
      added.set(content, addedToken(id, content, flags));
    }
  }
  const vocab: unknown = json.model.vocab;
  if (typeof vocab === "object" && vocab !== null && !Array.isArray(vocab)) {
    for (const [key, value] of [...Object.entries(specials), ...Object.entries(config)]) {
      if (!/^(bos|eos|unk|sep|pad|cls|mask|additional_special)_tokens?$/.test(key)) continue;
      for (const token of Array.isArray(value) ? value : [value]) {
        const content = contentOf(token);
        if (content === undefined || added.has(content) || !Object.hasOwn(vocab, content)) continue;
        added.set(content, addedToken((vocab as Record<string, number>)[content]!, content));
      }
    }
  }
  if (added.size === before) return json;
  const tokens = [...added.values()].sort((a, b) => a.id - b.id);
  for (let i = 1; i < tokens.length; i++)
    if (tokens[i]!.id === tokens[i - 1]!.id)
      throw new TokenizerFormatError(
        `${source}: tokenizer_config.json gives the id ${tokens[i]!.id} to a second token, ${JSON.stringify(tokens[i]!.content)}`,
      );
  return { ...json, added_tokens: tokens };
}
