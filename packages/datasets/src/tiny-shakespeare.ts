import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { TextSet } from "./dataset.ts";

/** The file of tiny Shakespeare (A. Karpathy, char-rnn). */
export const tinyShakespeareFile: DataFile = {
  path: "tinyshakespeare/input.txt",
  urls: ["https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"],
  bytes: 1_115_394,
  sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
};

export interface LoadTinyShakespeareOptions extends ResolveOptions {
  /** The first 90 % of the characters, the last 10 %, as nanoGPT splits them, or all. */
  readonly split: "train" | "val" | "all";
}

/**
 * Tiny Shakespeare: 1,115,394 ASCII characters of plays, 65 distinct ones.
 *
 * @returns text of 1,003,854 (train), 111,540 (val) or 1,115,394 (all) characters.
 * @throws as `loadMnist`.
 */
export async function loadTinyShakespeare({ split, ...options }: LoadTinyShakespeareOptions): Promise<TextSet> {
  checkChoice("loadTinyShakespeare", "split", split, ["train", "val", "all"]);
  const { bytes } = await resolveFile(tinyShakespeareFile, { caller: "loadTinyShakespeare", ...options });
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  const border = Math.floor(text.length * 0.9);
  return {
    name: `tiny-shakespeare-${split}`,
    source: "https://github.com/karpathy/char-rnn/tree/master/data/tinyshakespeare",
    licence: "public domain text; compilation MIT (char-rnn)",
    text: split === "all" ? text : split === "train" ? text.slice(0, border) : text.slice(border),
  };
}
