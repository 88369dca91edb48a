import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { FormatError, Rng } from "@genai/core";
import { type DatasetEntry, datasets, loadNames, loadTextFiles, type TextSet, type WordSet } from "@genai/datasets";
import { type DataRequest, downloadNotes, inEnglish, unknownData } from "../data/data-names.ts";
import { UsageError } from "../exit-code.ts";
import { torchPermutation } from "./torch-permutation.ts";

/** What `--documents` chooses from: what is a text of its own, with an end. */
export const documentKinds = ["auto", "none", "lines", "paragraphs", "files"] as const;
export type DocumentKind = (typeof documentKinds)[number];

/** Text to train on and to validate with. */
export interface TextCorpus {
  /** Whether the texts are documents with an end, or pieces of one running text. */
  readonly documents: boolean;
  readonly train: readonly string[];
  readonly validation: readonly string[];
  /** "tiny-shakespeare: plays ...; 1,003,854 characters to train on, 111,540 to validate with" */
  readonly summary: string;
}

/** Share of the text that is validated with. */
const validationShare = 0.1;
/** As makemore has it. */
const mostValidationDocuments = 1000;

/** By which makemore parts the names. */
const makemoreSeed = 3407;

const otherNames: Readonly<Record<string, string>> = { tinyshakespeare: "tiny-shakespeare", wikitext2: "wikitext-2" };

/**
 * Loads a named set, a text file or a folder of text files. Of running text the last tenth is for validation, of documents
 * a tenth and at most a thousand, drawn by a fixed seed; sets that come in parts keep them.
 *
 * @throws UsageError if there is no such set or file, or too little text; FormatError if a file is not UTF-8 or empty.
 */
export async function loadCorpus(
  source: string,
  request: DataRequest & { readonly documents: DocumentKind },
): Promise<TextCorpus> {
  const entry = (datasets as Readonly<Record<string, DatasetEntry>>)[otherNames[source] ?? source];
  if (entry?.kind === "text" || entry?.kind === "words") return loadNamed(source, entry, request);
  if (!existsSync(source)) throw unknownData("text", source);
  const isFolder = (await stat(source)).isDirectory();
  const { documents: asked, signal } = request;
  const kind = asked === "auto" ? (isFolder ? "files" : "none") : asked;
  const texts = isFolder ? await loadFolder(source, signal) : [await loadFile(source, signal)];
  return splitTexts(source, texts, kind);
}

async function loadNamed(
  source: string,
  entry: DatasetEntry,
  { documents, signal, note }: Parameters<typeof loadCorpus>[1],
): Promise<TextCorpus> {
  const onProgress = downloadNotes(note);
  if (source === "names" && documents !== "none") {
    const { words } = await loadNames({ split: "all", signal, onProgress });
    const about = `${source}: ${entry.description}, makemore's split`;
    return splitDocuments(about, words, torchPermutation(words.length, makemoreSeed).reverse());
  }
  const parts = (["train", "validation", "test"] as const).filter((split) => (entry.size[split] ?? 0) > 0);
  const sets = [];
  for (const split of parts) sets.push(await entry.load({ split, signal, onProgress }));
  const about = `${source}: ${entry.description}`;
  if (entry.kind === "words") {
    const words = (sets as WordSet[]).flatMap((set) => set.words);
    return documents === "none" ? splitTexts(about, [words.join("\n")], "none") : splitDocuments(about, words);
  }
  const texts = (sets as TextSet[]).map(({ text }) => text);
  if (documents !== "auto" && documents !== "none") return splitTexts(about, texts, documents);
  // Two parts: the published ones. Where there is no part to train on, the larger one is.
  if (texts.length !== 2) return splitTexts(about, texts, "none");
  const [train, validation] = entry.size.train > 0 ? texts : [texts[1], texts[0]];
  return corpus(about, { documents: false, train: [train!], validation: [validation!] });
}

async function loadFile(file: string, signal: AbortSignal): Promise<string> {
  return (await loadTextFiles(file, { signal })).text;
}

async function loadFolder(folder: string, signal: AbortSignal): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  if (files.length === 0) throw new UsageError(`${folder} holds no files; expected text files`);
  const texts: string[] = [];
  for (const file of files) {
    if ((await stat(file)).size > 0) texts.push(await loadFile(file, signal));
  }
  return texts;
}

function splitTexts(about: string, texts: readonly string[], kind: Exclude<DocumentKind, "auto">): TextCorpus {
  if (kind === "none") {
    const text = texts.join("\n");
    // Not within a surrogate pair.
    let border = Math.floor(text.length * (1 - validationShare));
    if (/[\udc00-\udfff]/.test(text.charAt(border))) border += 1;
    return corpus(about, { documents: false, train: [text.slice(0, border)], validation: [text.slice(border)] });
  }
  const cut = { lines: /\n/, paragraphs: /\n[^\S\n]*\n\s*/, files: null }[kind];
  const documents = cut === null ? texts : texts.flatMap((text) => text.split(cut));
  return splitDocuments(about, documents);
}

/** @param order which documents come first: those validate */
function splitDocuments(about: string, given: readonly string[], order?: Int32Array): TextCorpus {
  const documents = given.map((text) => text.trim()).filter((text) => text !== "");
  if (documents.length < 2) {
    throw new UsageError(
      `${about} holds ${documents.length} documents; expected at least 2, one of them to validate with, or --documents none`,
    );
  }
  const validated = Math.min(mostValidationDocuments, Math.max(1, Math.floor(documents.length * validationShare)));
  const drawn = order ?? new Rng(0).fork("documents").draw({ kind: "permutation", size: documents.length });
  const pick = (indices: ArrayLike<number>) => Array.from(indices, (i) => documents[i]!);
  return corpus(about, {
    documents: true,
    train: pick(drawn.subarray(validated)),
    validation: pick(drawn.subarray(0, validated)),
  });
}

function corpus(about: string, parts: Omit<TextCorpus, "summary">): TextCorpus {
  const { documents, train, validation } = parts;
  if ([train, validation].some((texts) => countCharacters(texts) === 0)) {
    throw new FormatError(`${about} holds too little text to part it into training and validation`);
  }
  const size = (texts: readonly string[]) => inEnglish(documents ? texts.length : countCharacters(texts));
  const what = documents ? "documents" : "characters";
  return { ...parts, summary: `${about}; ${size(train)} ${what} to train on, ${size(validation)} to validate with` };
}

/** Characters, those beyond the basic plane as one. */
export function countCharacters(texts: readonly string[]): number {
  let count = 0;
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) !== 0xdc00) count += 1;
  }
  return count;
}
