import { throwIfAborted } from "@genai/core";
import { isNode, whyUnreadable } from "./platform.ts";

/** A file of the user's own: a path (Node), an address (http, https, blob or data), or a File or Blob. */
export type UserFile = string | URL | Blob;

/** Several of them; a browser's FileList is one. */
export type UserFiles = UserFile | Iterable<UserFile> | ArrayLike<File>;

export function listUserFiles(caller: string, files: UserFiles): UserFile[] {
  checkUserFiles(caller, files);
  if (typeof files === "string" || files instanceof URL || files instanceof Blob) return [files];
  return Array.from(files as ArrayLike<UserFile>);
}

/** @throws if the value, of which JavaScript does not know the type, is neither a file nor a list of them. */
export function checkUserFiles(caller: string, files: unknown): void {
  const isFile = typeof files === "string" || files instanceof URL || files instanceof Blob;
  if (isFile || (typeof files === "object" && files !== null && (Symbol.iterator in files || "length" in files)))
    return;
  throw new Error(`${caller}: ${files} is no file; expected a path, an address, a File, or several of them`);
}

const isAddress = (text: string) => /^(https?|blob|data):/.test(text);

/** What errors call a file. A File of a chosen folder carries its path below it. */
export function nameOfUserFile(file: UserFile): string {
  if (typeof file === "string") return file.startsWith("data:") ? "data address" : file;
  if (file instanceof URL) return file.href;
  const { name, webkitRelativePath } = file as { name?: string; webkitRelativePath?: string };
  return webkitRelativePath || name || "blob";
}

/**
 * Reads a file of the user's own.
 *
 * @throws an Error that names it if it is not there or cannot be read, AbortError.
 */
export async function readUserFile(caller: string, file: UserFile, signal?: AbortSignal): Promise<Uint8Array> {
  throwIfAborted(caller, signal);
  const name = nameOfUserFile(file);
  try {
    if (file instanceof Blob) return new Uint8Array(await file.arrayBuffer());
    const isFilePath = isNode() && (file instanceof URL ? file.protocol === "file:" : !isAddress(file));
    if (isFilePath) {
      const { readFile } = await import("node:fs/promises");
      return await readFile(file);
    }
    const response = await fetch(file, signal === undefined ? {} : { signal });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throwIfAborted(caller, signal);
    throw new Error(`${caller}: ${name} cannot be read (${whyUnreadable(cause)})`, { cause });
  }
}
