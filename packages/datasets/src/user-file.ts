import { throwIfAborted } from "@genai/core";
import { isNode } from "./platform.ts";

/** A file of the user's own: a path (Node), an address (http, https, blob or data), or a File or Blob. */
export type UserFile = string | URL | Blob;

/** Several of them; a browser's FileList is one. */
export type UserFiles = UserFile | Iterable<UserFile> | ArrayLike<File>;

export function listUserFiles(files: UserFiles): UserFile[] {
  if (typeof files === "string" || files instanceof URL || files instanceof Blob) return [files];
  return Array.from(files as ArrayLike<UserFile>);
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
    const { code, message } = cause as { code?: string; message?: string };
    const what = code === "ENOENT" ? "it is not there" : code === "EISDIR" ? "it is a folder" : message;
    throw new Error(`${caller}: ${name} cannot be read (${what})`, { cause });
  }
}
