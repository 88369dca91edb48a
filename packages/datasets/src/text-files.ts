import { FormatError } from "@genai/core";
import type { TextSet } from "./dataset.ts";
import { listUserFiles, nameOfUserFile, readUserFile, type UserFiles } from "./user-file.ts";

export interface LoadTextFilesOptions {
  /** Put between the files. Default "\n". */
  readonly separator?: string;
  readonly name?: string;
  readonly source?: string;
  readonly licence?: string;
  readonly signal?: AbortSignal;
}

/**
 * Text of one or more files of your own, UTF-8, in the order given. A byte order mark is dropped and line ends become
 * "\n".
 *
 * @throws FormatError naming the file that is not UTF-8 or the lack of any text, an Error naming the file that cannot be
 * read, AbortError.
 */
export async function loadTextFiles(files: UserFiles, options: LoadTextFilesOptions = {}): Promise<TextSet> {
  const { separator = "\n", name = "text", source = "your own files", licence = "yours", signal } = options;
  const texts: string[] = [];
  const listed = listUserFiles("loadTextFiles", files);
  for (const file of listed) {
    texts.push(decodeUtf8("loadTextFiles", await readUserFile("loadTextFiles", file, signal), nameOfUserFile(file)));
  }
  const text = texts.join(separator).replaceAll("\r\n", "\n");
  if (text.trim() === "") {
    const named = listed.slice(0, 5).map(nameOfUserFile).join(", ");
    throw new FormatError(`loadTextFiles: ${texts.length} files hold no text${named === "" ? "" : ` (${named})`}`);
  }
  return { name, source, licence, text };
}

/** Text of UTF-8 bytes without their byte order mark; throws a FormatError that says at which byte they are not. */
export function decodeUtf8(caller: string, bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const mark = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
    const what = mark ? "it begins as UTF-16 does" : `from byte ${firstBadByte(bytes)} on`;
    throw new FormatError(`${caller}: ${name} is not UTF-8 text, ${what}`, { cause });
  }
}

function firstBadByte(bytes: Uint8Array): number {
  // What comes before the first bad byte decodes; a character may still be open there, hence stream.
  let [low, high] = [0, bytes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, middle + 1), { stream: true });
      low = middle + 1;
    } catch {
      high = middle;
    }
  }
  return low;
}
