/** A tokenizer file, or a description of a tokenizer, that cannot be used. The message names the file and the field. */
export class TokenizerFormatError extends Error {
  override readonly name = "TokenizerFormatError";
}
