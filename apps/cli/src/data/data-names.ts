import { type DownloadProgress, datasets } from "@genai/datasets";
import { UsageError } from "../exit-code.ts";

/** What a model is trained on, as far as the command line goes. */
export type DataKind = "images" | "table" | "words" | "text";

/** What `--data` takes besides names of sets. */
export const ownData: Record<DataKind, string> = {
  images: "a folder of PNG or JPEG files",
  table: "a CSV file",
  words: "a text file with one string on each line",
  text: "a text file, or a folder of text files",
};

const setsOf: Record<DataKind, string> = {
  images: "an image set",
  table: "a table",
  words: "a set of strings",
  text: "a text",
};

/** Names of the sets of a kind. */
export function dataNames(kind: DataKind): string[] {
  // Strings are short texts.
  const kinds: readonly string[] = kind === "text" ? ["text", "words"] : [kind];
  return Object.entries(datasets).flatMap(([name, entry]) => (kinds.includes(entry.kind) ? [name] : []));
}

/** The error for a name that is neither a set of the kind nor a path. */
export function unknownData(kind: DataKind, source: string): UsageError {
  return new UsageError(
    `--data ${source} is neither a path nor ${setsOf[kind]}; expected ${ownData[kind]}, or ${dataNames(kind).join(", ")}`,
  );
}

/** How commands load data. */
export interface DataRequest {
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** Says at most every two seconds how far each download is. */
export function downloadNotes(note: (text: string) => void): (progress: DownloadProgress) => void {
  let last = 0;
  return ({ file, received, total }) => {
    const now = performance.now();
    if (now - last < 2000 && received !== total) return;
    last = now;
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
    note(`Downloading ${file}: ${mib(received)}${total === undefined ? "" : ` of ${mib(total)}`} MiB`);
  };
}

export const inEnglish = (count: number): string => count.toLocaleString("en");
