import { createTokenizer } from "./create-tokenizer.ts";
import type { TokenizerSource } from "./files/file-source.ts";
import { type ReadTokenizerOptions, readTokenizerFiles } from "./files/read-tokenizer-files.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Options of `loadTokenizer`: `signal`, `fetch`, and `encoding` for tiktoken files of other vocabularies. */
export interface LoadTokenizerOptions extends ReadTokenizerOptions {}

/**
 * Loads a tokenizer from a folder or a file (Node), a URL of either, files in memory by their names, or a page's File
 * objects. Of several files it takes the first that is there of tokenizer.json; vocab.json with merges.txt; encoder.json
 * with vocab.bpe; *.tiktoken; spiece.model or tokenizer.model; tokenizer.bin; vocab.txt; bpe_simple_vocab_16e6.txt.gz; with what
 * tokenizer_config.json and special_tokens_map.json beside it say.
 *
 * Throws TokenizerFormatError, naming the file and the field, for files that cannot be used; Error when there is none.
 */
export async function loadTokenizer(source: TokenizerSource, options: LoadTokenizerOptions = {}): Promise<Tokenizer> {
  const { json, source: name, config } = await readTokenizerFiles(source, options);
  return createTokenizer(json, { source: name, config });
}
