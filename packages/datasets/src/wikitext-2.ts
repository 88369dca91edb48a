import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { TextSet } from "./dataset.ts";

// S. Merity, C. Xiong, J. Bradbury, R. Socher, "Pointer sentinel mixture models", ICLR 2017, arXiv:1609.07843.

const home = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/";

const file = (name: string, bytes: number, sha256: string): DataFile => ({
  path: `wikitext-2/${name}`,
  urls: [home + name],
  bytes,
  sha256,
});

/** The files of WikiText-2's validation and test parts. */
export const wikitext2Files = {
  validation: file("valid.txt", 1_121_681, "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
  test: file("test.txt", 1_256_449, "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
} as const;

export interface LoadWikitext2Options extends ResolveOptions {
  /** The published validation part (213,886 tokens) or test part (241,211 tokens). */
  readonly split: "validation" | "test";
}

/**
 * WikiText-2: good articles of Wikipedia, as tokens set apart by spaces, with `<unk>` for rare words. The training part is
 * not served by anything we can verify.
 *
 * @throws as `loadMnist`.
 */
export async function loadWikitext2({ split, ...options }: LoadWikitext2Options): Promise<TextSet> {
  checkChoice("loadWikitext2", "split", split, ["validation", "test"]);
  const { bytes } = await resolveFile(wikitext2Files[split], { caller: "loadWikitext2", ...options });
  return {
    name: `wikitext-2-${split}`,
    source: "https://arxiv.org/abs/1609.07843",
    licence: "CC BY-SA 3.0 (authors of Wikipedia)",
    text: new TextDecoder("utf-8", { fatal: true }).decode(bytes),
  };
}
