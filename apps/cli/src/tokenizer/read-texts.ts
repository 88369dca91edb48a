import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { UsageError } from "../exit-code.ts";

/** Stands for the standard input among the names of files. */
export const standardInput = "-";

/** Texts longer than this are cut at a space, or anywhere if there is none. */
const longestText = 1 << 24;

/** Throws a UsageError unless every name is that of a file, or "-". */
export async function checkFiles(files: readonly string[]): Promise<void> {
  for (const file of files) {
    if (file === standardInput) continue;
    const found = await stat(file).catch(() => null);
    if (found === null) throw new UsageError(`No file is called ${file}`);
    if (found.isDirectory()) throw new UsageError(`${file} is a folder; name the text files in it`);
  }
}

/**
 * The contents of UTF-8 files in parts: each line with its end, or parts of about a megabyte that end where a line ends
 * and the next one begins with something visible, so that no word is cut.
 */
export async function* readTexts(files: readonly string[], options: { lines: boolean }): AsyncGenerator<string> {
  await checkFiles(files);
  for (const file of files) {
    const stream = file === standardInput ? process.stdin : createReadStream(file, { highWaterMark: 1 << 20 });
    yield* options.lines ? linesOf(chunksOf(stream)) : blocksOf(chunksOf(stream));
  }
}

/** The whole contents of files, one after another. */
export async function readAll(files: readonly string[]): Promise<string> {
  await checkFiles(files);
  if (files.includes(standardInput) && process.stdin.isTTY) {
    throw new UsageError("Nothing to read: name it in the command line, or send it to the standard input");
  }
  const parts: string[] = [];
  for (const file of files) {
    for await (const chunk of chunksOf(file === standardInput ? process.stdin : createReadStream(file)))
      parts.push(chunk);
  }
  return parts.join("");
}

async function* chunksOf(stream: Readable): AsyncGenerator<string> {
  // Drops a byte order mark, and gives U+FFFD for what is not UTF-8.
  const decoder = new TextDecoder();
  for await (const bytes of stream) yield decoder.decode(bytes as Uint8Array, { stream: true });
  yield decoder.decode();
}

export async function* linesOf(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of chunks) {
    const parts = (rest + chunk).split(/(?<=\n)/);
    rest = parts.pop()!;
    if (rest.endsWith("\n")) {
      parts.push(rest);
      rest = "";
    }
    yield* parts;
  }
  if (rest !== "") yield rest;
}

export async function* blocksOf(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of chunks) {
    const searched = Math.max(0, rest.length - 1);
    rest += chunk;
    let cut = lastBlockEnd(rest, searched);
    if (cut === 0 && rest.length > longestText) cut = Math.max(rest.lastIndexOf(" "), 0) || rest.length;
    if (cut === 0) continue;
    yield rest.slice(0, cut);
    rest = rest.slice(cut);
  }
  if (rest !== "") yield rest;
}

/** The last place from `from` on where a line ends and the next one begins with something visible; 0 for none. */
function lastBlockEnd(text: string, from: number): number {
  for (let at = text.lastIndexOf("\n", text.length - 2); at >= from; at = text.lastIndexOf("\n", at - 1)) {
    if (text.charCodeAt(at + 1) > 0x20) return at + 1;
    if (at === 0) break;
  }
  return 0;
}
