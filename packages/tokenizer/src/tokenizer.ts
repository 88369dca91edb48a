import type { AddedToken } from "./added-tokens.ts";
import { addedTokenJson } from "./added-tokens.ts";
import { ChatGuard } from "./chat-guard.ts";
import type { ChatMessage, ChatTemplateOptions, TokenizerConfigJson } from "./chat-template.ts";
import { renderChat, renderGuardedChat } from "./chat-template.ts";
import type { DecodeStream } from "./decode-stream.ts";
import { byteDecodeStream, windowDecodeStream } from "./decode-stream.ts";
import { byteLevelBytes } from "./decoders/create-decoder.ts";
import type { Encoding, EncodingPart, TextRun } from "./encoding.ts";
import { LazyEncoding } from "./encoding.ts";
import type { AllowedSpecial, PipelineStages } from "./pipeline.ts";
import { Pipeline } from "./pipeline.ts";
import type { Decoder } from "./stages.ts";
import type { AddedTokenJson, PaddingJson, TokenizerJson } from "./tokenizer-json.ts";
import type { Truncation, TruncationStrategy, Window } from "./truncation.ts";
import { truncationWindows } from "./truncation.ts";

export interface EncodeOptions {
  /** The second text of a pair. */
  readonly pair?: string;
  /** Puts the post-processor's special tokens around the text. Default true. */
  readonly addSpecialTokens?: boolean;
  /**
   * Special tokens that are recognised in the text. Default "none": text of a user that says `<|endoftext|>` stays text.
   * "all" is what the Rust library does. A list names tokens.
   */
  readonly allowedSpecial?: AllowedSpecial;
  /** Most tokens, special ones among them. Default: what the file says, else no limit. */
  readonly maxLength?: number;
  /** What to cut when the text is too long; false cuts nothing. Default "longestFirst". */
  readonly truncation?: TruncationStrategy | false;
  /** Where tokens are cut off. Default "right". */
  readonly truncationSide?: "left" | "right";
  /** Tokens by which the windows in `overflowing` overlap. Default 0. */
  readonly stride?: number;
  /** Pads to the longest of the batch, or to a length. Default: what the file says, else false. */
  readonly padding?: "longest" | number | false;
  /** Where padding goes. Default "right". */
  readonly paddingSide?: "left" | "right";
  /** Pads on to a multiple of this. */
  readonly padToMultipleOf?: number;
  /** The token to pad with. Default: what the file says, else a special token such as [PAD] or <pad>. */
  readonly padToken?: string;
}

export interface DecodeOptions {
  /** Leaves special tokens out of the text. Default true. */
  readonly skipSpecialTokens?: boolean;
}

/** A token to be added: a string, or what its fields in tokenizer.json say. */
export type NewToken = string | (Partial<AddedTokenJson> & { readonly content: string });

/** What `createTokenizer` builds a tokenizer from. */
export interface TokenizerParts {
  readonly json: TokenizerJson;
  readonly config: TokenizerConfigJson;
  readonly stages: PipelineStages;
  readonly decoder: Decoder | null;
  /** Whether the decoder does nothing but join bytes. */
  readonly decodesBytes: boolean;
  /** Builds the same tokenizer with other added tokens. */
  readonly rebuild: (addedTokens: readonly AddedToken[]) => Tokenizer;
}

interface Padding {
  readonly length: "longest" | number;
  readonly side: "left" | "right";
  readonly multipleOf: number;
  readonly id: number;
  readonly typeId: number;
  readonly token: string;
}

/** Turns text into the ids of a vocabulary and back. Made by `loadTokenizer`, `createTokenizer` and the trainers. */
export class Tokenizer {
  readonly #parts: TokenizerParts;
  readonly #pipeline: Pipeline;
  readonly #addedById = new Map<number, AddedToken>();
  readonly #addedByContent = new Map<string, AddedToken>();
  #guard: ChatGuard | null = null;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  /** How many ids there are, added tokens among them. */
  readonly vocabSize: number;

  constructor(parts: TokenizerParts) {
    this.#parts = parts;
    this.#pipeline = new Pipeline(parts.stages);
    const { model, addedTokens } = parts.stages;
    let size = model.size;
    for (const token of addedTokens) {
      if (!this.#addedById.has(token.id) && model.idToToken(token.id) === undefined) size++;
      this.#addedById.set(token.id, token);
      this.#addedByContent.set(token.content, token);
    }
    this.vocabSize = size;
  }

  /** The tokens that were added to the model's vocabulary, special ones among them. */
  get addedTokens(): readonly AddedToken[] {
    return this.#parts.stages.addedTokens;
  }

  /** What tokenizer_config.json says, where there was one. */
  get config(): TokenizerConfigJson {
    return this.#parts.config;
  }

  /** The algorithm of the vocabulary. */
  get modelKind(): "BPE" | "WordPiece" | "Unigram" | "WordLevel" {
    return this.#parts.stages.model.kind;
  }

  tokenToId(token: string): number | undefined {
    return this.#addedByContent.get(token)?.id ?? this.#parts.stages.model.tokenToId(token);
  }

  idToToken(id: number): string | undefined {
    return this.#addedById.get(id)?.content ?? this.#parts.stages.model.idToToken(id);
  }

  /**
   * Encodes a text. Lone surrogates count as U+FFFD.
   * Throws a RangeError when the options cannot be met, and a TokenizerFormatError when a regular expression of the
   * tokenizer backtracks without end.
   */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const encoding = this.#encodeUnpadded(text, options.pair, options);
    const padding = this.#paddingFor(options);
    return padding === null ? encoding : this.#pad([encoding], padding)[0]!;
  }

  /** Encodes texts, or pairs of texts, and pads them to one length where the options or the file ask for it. */
  encodeBatch(
    texts: readonly (string | readonly [text: string, pair: string])[],
    options: Omit<EncodeOptions, "pair"> = {},
  ): Encoding[] {
    const encodings = texts.map((text) =>
      typeof text === "string"
        ? this.#encodeUnpadded(text, undefined, options)
        : this.#encodeUnpadded(text[0], text[1], options),
    );
    const padding = this.#paddingFor(options);
    return padding === null ? encodings : this.#pad(encodings, padding);
  }

  /** The text of ids. Throws a RangeError for an id that the vocabulary does not have. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const skip = options.skipSpecialTokens ?? true;
    const { decoder, decodesBytes } = this.#parts;
    if (decodesBytes) return decodeBytes(ids, (id) => this.#bytesOf(id, skip));
    const tokens: string[] = [];
    for (const id of ids) {
      const token = this.#tokenFor(id);
      if (!(skip && this.#addedById.get(id)?.special)) tokens.push(token);
    }
    return decoder === null ? tokens.join(" ") : decoder(tokens).join("");
  }

  /** Decodes ids as they come, for showing text while a model writes it. */
  decodeStream(options: DecodeOptions = {}): DecodeStream {
    const skip = options.skipSpecialTokens ?? true;
    if (this.#parts.decodesBytes) return byteDecodeStream((id) => this.#bytesOf(id, skip));
    return windowDecodeStream(
      (ids) => this.decode(ids, options),
      (id) => skip && this.#addedById.get(id)?.special === true,
    );
  }

  /** A tokenizer that also knows these tokens; this one stays as it is. Tokens of the model keep their ids. */
  withAddedTokens(tokens: readonly NewToken[]): Tokenizer {
    const { model } = this.#parts.stages;
    const list = [...this.addedTokens];
    let nextId = 0;
    for (const { id } of list) nextId = Math.max(nextId, id + 1);
    let known = model.size;
    while (model.idToToken(known) !== undefined) known++;
    nextId = Math.max(nextId, known);
    for (const item of tokens) {
      const given = typeof item === "string" ? { content: item } : item;
      const { content } = given;
      if (content === "") throw new RangeError("withAddedTokens: a token is empty; text was expected");
      const at = list.findIndex((token) => token.content === content);
      const id = at >= 0 ? list[at]!.id : (model.tokenToId(content) ?? given.id ?? nextId);
      nextId = Math.max(nextId, id + 1);
      const special = given.special ?? false;
      const token: AddedToken = {
        id,
        content,
        singleWord: given.single_word ?? false,
        lstrip: given.lstrip ?? false,
        rstrip: given.rstrip ?? false,
        normalized: given.normalized ?? !special,
        special,
      };
      if (at >= 0) list[at] = token;
      else list.push(token);
    }
    return this.#parts.rebuild(list);
  }

  /**
   * Encodes a conversation with the tokenizer's chat template. Special tokens of the template count; those that somebody
   * typed into messages, tools or documents, in whole or in parts, are plain text. A field that the template writes into
   * the middle of a token, as in `<|{{ role }}|>`, makes that token.
   *
   * Throws when there is no template or it cannot be rendered.
   */
  async encodeChat(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): Promise<Int32Array> {
    this.#guard ??= new ChatGuard(this.addedTokens, this.#parts.stages.normalizer);
    const { text, plain } = await renderGuardedChat(messages, this.#parts.config, options, this.#guard);
    return (plain === null ? this.#pipeline.run(text, "all") : this.#pipeline.runGuarded(text, plain)).ids;
  }

  /**
   * Renders a conversation with the tokenizer's chat template, for people to read. Models read what `encodeChat` gives: in
   * this text nobody can tell a special token of the template from one that a user typed.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): Promise<string> {
    return renderChat(messages, this.#parts.config, options);
  }

  /** The content of a tokenizer.json file, with the fields that this library does not know left in place. */
  toJson(): TokenizerJson {
    return { ...this.#parts.json, added_tokens: this.addedTokens.map(addedTokenJson) };
  }

  #encodeUnpadded(text: string, pair: string | undefined, options: EncodeOptions): LazyEncoding {
    const { postProcessor } = this.#parts.stages;
    const allowed = options.allowedSpecial ?? "none";
    const runs = (pair === undefined ? [text] : [text, pair]).map((one): TextRun => {
      if (typeof one !== "string") throw new TypeError(`encode: a text is ${typeof one}; a string was expected`);
      return this.#pipeline.run(one, allowed);
    });
    const isPair = pair !== undefined;
    const addSpecial = options.addSpecialTokens ?? true;
    const layout = postProcessor.layout(isPair, addSpecial);
    const truncation = this.#truncationFor(options);
    let windows: readonly (readonly Window[])[] = runs.map((run) => [[0, run.ids.length]]);
    if (truncation !== null) {
      const added = addSpecial ? postProcessor.addedTokens(isPair) : 0;
      if (truncation.maxLength < added) {
        throw new RangeError(
          `encode: maxLength (${truncation.maxLength}) is less than the ${added} special tokens; set addSpecialTokens to false or raise it`,
        );
      }
      const lengths = runs.map((run) => run.ids.length);
      windows = truncationWindows(lengths, truncation.maxLength - added, truncation);
    }
    const build = (chosen: readonly Window[], overflowing: readonly Encoding[]): LazyEncoding => {
      const parts = layout.map((item): EncodingPart => {
        if (!("sequence" in item)) return { ...item, padding: false };
        const [from, to] = chosen[item.sequence]!;
        return { run: runs[item.sequence]!, from, to, sequence: item.sequence, typeId: item.typeId };
      });
      return new LazyEncoding(parts, (id) => this.#tokenFor(id), overflowing);
    };
    const [first, second] = windows;
    const overflowing: LazyEncoding[] = [];
    // As the Rust library orders them: the first text's windows with all of the second's, then the second's alone.
    first!.slice(1).forEach((a) => {
      for (const b of second ?? [undefined]) overflowing.push(build(b === undefined ? [a] : [a, b], []));
    });
    second?.slice(1).forEach((b) => {
      overflowing.push(build([first![0]!, b], []));
    });
    return build(second === undefined ? [first![0]!] : [first![0]!, second[0]!], overflowing);
  }

  #truncationFor(options: EncodeOptions): Truncation | null {
    if (options.truncation === false) return null;
    const file = this.#parts.json.truncation ?? null;
    const maxLength = options.maxLength ?? file?.max_length;
    if (maxLength === undefined) return null;
    const stride = options.stride ?? file?.stride ?? 0;
    for (const [name, value] of Object.entries({ maxLength, stride })) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new RangeError(`encode: ${name} (${value}) must be a whole number of at least 0`);
      }
    }
    const strategies = { LongestFirst: "longestFirst", OnlyFirst: "onlyFirst", OnlySecond: "onlySecond" } as const;
    return {
      maxLength,
      stride,
      strategy: options.truncation ?? (file === null ? "longestFirst" : strategies[file.strategy]),
      side: options.truncationSide ?? (file?.direction === "Left" ? "left" : "right"),
    };
  }

  #paddingFor(options: EncodeOptions): Padding | null {
    const file: PaddingJson | null = this.#parts.json.padding ?? null;
    let length = options.padding;
    if (length === undefined) {
      if (file === null) return null;
      length = file.strategy === "BatchLongest" ? "longest" : file.strategy.Fixed;
    }
    if (length === false) return null;
    if (length !== "longest" && (!Number.isSafeInteger(length) || length < 0)) {
      throw new RangeError(`encode: padding (${length}) must be "longest", false or a whole number of at least 0`);
    }
    const token = options.padToken ?? file?.pad_token ?? this.#guessPadToken();
    const id = options.padToken === undefined && file !== null ? file.pad_id : this.tokenToId(token);
    if (id === undefined) {
      throw new RangeError(`encode: the padding token ${JSON.stringify(token)} is not in the vocabulary`);
    }
    return {
      length,
      side: options.paddingSide ?? (file?.direction === "Left" ? "left" : "right"),
      multipleOf: options.padToMultipleOf ?? file?.pad_to_multiple_of ?? 1,
      id,
      typeId: file?.pad_type_id ?? 0,
      token,
    };
  }

  #guessPadToken(): string {
    const { pad_token: named } = this.#parts.config;
    const content = typeof named === "object" && named !== null && "content" in named ? named.content : named;
    if (typeof content === "string") return content;
    const found = ["[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"].find((token) => this.#addedByContent.has(token));
    if (found === undefined) throw new RangeError("encode: no padding token is known; options.padToken was expected");
    return found;
  }

  #pad(encodings: readonly LazyEncoding[], padding: Padding): LazyEncoding[] {
    let target = padding.length === "longest" ? 0 : padding.length;
    if (padding.length === "longest") for (const { length } of encodings) target = Math.max(target, length);
    if (padding.multipleOf > 1) target = Math.ceil(target / padding.multipleOf) * padding.multipleOf;
    const padOne = (encoding: LazyEncoding): LazyEncoding => {
      const overflowing = encoding.overflowing.map((part) => padOne(part as LazyEncoding));
      const missing = target - encoding.length;
      if (missing <= 0 && overflowing.length === 0) return encoding;
      const { id, token, typeId } = padding;
      const added: EncodingPart[] = new Array(Math.max(0, missing)).fill({ id, token, typeId, padding: true });
      const parts = padding.side === "left" ? [...added, ...encoding.parts] : [...encoding.parts, ...added];
      return new LazyEncoding(parts, (one) => this.#tokenFor(one), overflowing);
    };
    return encodings.map(padOne);
  }

  #tokenFor(id: number): string {
    const token = this.idToToken(id);
    if (token === undefined) {
      throw new RangeError(`decode: the id ${id} is not in the vocabulary of ${this.vocabSize} tokens`);
    }
    return token;
  }

  #bytesOf(id: number, skipSpecial: boolean): Uint8Array {
    const added = this.#addedById.get(id);
    if (skipSpecial && added?.special) return noBytes;
    let bytes = this.#bytes[id];
    if (bytes === undefined) {
      // Added tokens stand in the vocabulary as they are, not in the letters of the byte-level alphabet.
      bytes = added === undefined ? byteLevelBytes(this.#tokenFor(id)) : encoder.encode(added.content);
      this.#bytes[id] = bytes;
    }
    return bytes;
  }
}

const noBytes = new Uint8Array(0);
const encoder = new TextEncoder();

function decodeBytes(ids: Iterable<number>, bytesOf: (id: number) => Uint8Array): string {
  let bytes = new Uint8Array(1024);
  let length = 0;
  for (const id of ids) {
    const token = bytesOf(id);
    if (length + token.length > bytes.length) {
      const grown = new Uint8Array(Math.max(2 * bytes.length, length + token.length));
      grown.set(bytes.subarray(0, length));
      bytes = grown;
    }
    if (token.length === 1) bytes[length] = token[0]!;
    else bytes.set(token, length);
    length += token.length;
  }
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, length));
}
