import { FormatError } from "@genai/core";

/** Thrown when a data set cannot be had here: not on disk, and not downloadable. The message says what was tried. */
export class DataUnavailableError extends Error {
  override name = "DataUnavailableError";
}

/** Thrown when a file's SHA-256 is not the published one. */
export class ChecksumError extends Error {
  override name = "ChecksumError";
  readonly file: string;
  readonly got: string;
  readonly expected: string;

  constructor(caller: string, file: string, got: string, expected: string) {
    super(`${caller}: SHA-256 of ${file} is ${got}; expected ${expected}`);
    this.file = file;
    this.got = got;
    this.expected = expected;
  }
}

/** Whether the error says that bytes are not what they should be. */
export const isDamage = (error: unknown): error is ChecksumError | FormatError =>
  error instanceof ChecksumError || error instanceof FormatError;
