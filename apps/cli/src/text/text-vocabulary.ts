import { existsSync } from "node:fs";
import { createByteTokenizer, loadTokenizer, type Tokenizer, trainBpe, trainCharacters } from "@genai/tokenizer";
import { UsageError } from "../exit-code.ts";
import type { TextCorpus } from "./text-corpus.ts";

/** The token that ends a document and begins the next, as GPT-2's vocabulary has it. */
export const endToken = "<|endoftext|>";

/** Alphabets up to this size become the vocabulary; larger ones make a vocabulary of byte pairs. */
const largestAlphabet = 256;
const defaultBpeSize = 4096;

/**
 * The tokenizer that `--tokenizer` names: chars, bytes, bpe:SIZE, auto (chars for a small alphabet, bpe:4096 otherwise), or
 * a file or folder. If the corpus is made of documents, a tokenizer made here has a token for their end.
 */
export async function chooseTokenizer(spec: string, corpus: TextCorpus, signal: AbortSignal): Promise<Tokenizer> {
  const texts = [...corpus.train, ...corpus.validation];
  const specialTokens = corpus.documents ? [endToken] : [];
  const named = spec === "auto" ? automatic(texts) : spec;
  if (named === "bytes") return createByteTokenizer({ specialTokens });
  if (named === "chars") return trainCharacters(texts, { specialTokens, unkToken: null, signal });
  const bpe = /^bpe:(\d+)$/.exec(named);
  if (bpe) {
    const vocabSize = Number(bpe[1]);
    const least = 256 + specialTokens.length;
    if (vocabSize < least) throw new UsageError(`--tokenizer ${spec}: expected a size of at least ${least}`);
    return trainBpe(corpus.train, { specialTokens, vocabSize, signal });
  }
  if (!existsSync(named)) {
    throw new UsageError(`--tokenizer ${spec} does not exist; expected chars, bytes, bpe:SIZE, or a file or folder`);
  }
  return loadTokenizer(named, { signal });
}

function automatic(texts: readonly string[]): string {
  const alphabet = new Set<string>();
  for (const text of texts) {
    for (const character of text) alphabet.add(character);
    if (alphabet.size > largestAlphabet) return `bpe:${defaultBpeSize}`;
  }
  return "chars";
}

/** The id that ends documents: that of `eos_token` in the tokenizer's config, or of GPT-2's token. */
export function endIdOf(tokenizer: Tokenizer): number | undefined {
  return specialIdOf(tokenizer, "eos_token") ?? tokenizer.tokenToId(endToken);
}

/** The id of a token that the tokenizer's config names. */
export function specialIdOf(tokenizer: Tokenizer, name: "eos_token" | "bos_token"): number | undefined {
  const value = tokenizer.config[name];
  const content = typeof value === "object" && value !== null && "content" in value ? value.content : value;
  return typeof content === "string" ? tokenizer.tokenToId(content) : undefined;
}

/**
 * The ids of a text.
 *
 * @throws UsageError naming the first character that the vocabulary cannot write.
 */
export function encodeText(
  tokenizer: Tokenizer,
  text: string,
  options: { readonly addSpecialTokens: boolean; readonly what: string; readonly allowedSpecial?: "all" },
): Int32Array {
  const { addSpecialTokens, what, allowedSpecial = "none" } = options;
  const ids = Int32Array.from(
    tokenizer.encode(text, { addSpecialTokens, allowedSpecial, truncation: false, padding: false }).ids,
  );
  // Nothing is left out where all of the text comes back. Word vocabularies leave spaces out and mean to.
  if (tokenizer.modelKind === "BPE" && tokenizer.decode(ids, { skipSpecialTokens: false }).length < text.length) {
    for (const character of new Set(text)) {
      if (tokenizer.encode(character, { addSpecialTokens: false }).ids.length > 0) continue;
      throw new UsageError(
        `${what}: the character ${JSON.stringify(character)} is not in the vocabulary of ${tokenizer.vocabSize} tokens; ` +
          "the model was trained on text without it",
      );
    }
  }
  return ids;
}
