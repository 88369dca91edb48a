import { TokenizerFormatError } from "../errors.ts";

/** Files in memory by name. */
export type TokenizerFiles = Readonly<Record<string, Blob | Uint8Array | ArrayBuffer | string>>;

/** Where the files of a tokenizer are: a path or URL of a folder or a file, files in memory, or files that a page got. */
export type TokenizerSource = string | URL | TokenizerFiles | readonly File[];

/** A place to read files from by their names. */
export interface FileSource {
  /** Names the place in messages. */
  readonly name: string;
  /** The one file that was asked for, where it was not a folder. */
  readonly only: string | undefined;
  /** Names of all files, where they can be listed; undefined for URLs. */
  list(): Promise<readonly string[] | undefined>;
  /** The content of a file, or undefined when there is no such file. */
  read(name: string): Promise<Uint8Array | string | undefined>;
  /** How a file is named in messages. */
  label(name: string): string;
}

export interface OpenSourceOptions {
  readonly signal?: AbortSignal;
  /** Used for URLs in place of the global fetch. */
  readonly fetch?: typeof globalThis.fetch;
}

/** Extensions by which a URL is taken for a file; others are folders. */
const FILE_NAME = /\.(json|txt|bpe|tiktoken|model|bin|gz)$/i;

/** Opens a folder, file, URL, or files in memory. */
export async function openFileSource(source: TokenizerSource, options: OpenSourceOptions = {}): Promise<FileSource> {
  if (typeof source === "string" || source instanceof URL) {
    const text = String(source);
    if (/^https?:/i.test(text)) return urlSource(new URL(text), options);
    if (text.startsWith("hf:"))
      throw new TypeError(
        `loadTokenizer: ${text} names a model on the hub; give the folder that downloadPretrained of @genai/transformer ` +
          "returns, or an address such as https://huggingface.co/OWNER/NAME/resolve/main/",
      );
    if (/^(data|blob):/i.test(text))
      throw new TypeError(
        "loadTokenizer: data: and blob: URLs name no file; give the files in a record by their names",
      );
    const inNode = typeof process !== "undefined" && process.versions?.node !== undefined;
    if (inNode) return diskSource(source, options);
    if (typeof location !== "undefined") return urlSource(new URL(text, location.href), options);
    throw new TypeError(`loadTokenizer: ${text} is a path, and there are no files here; give a URL or the files`);
  }
  if (Array.isArray(source)) {
    const files = source as readonly File[];
    return memorySource(Object.fromEntries(files.map((file) => [file.name, file])));
  }
  if (typeof source === "object" && source !== null) return memorySource(source as TokenizerFiles);
  throw new TypeError(`loadTokenizer: source is ${String(source)}; expected a path, a URL or files`);
}

async function diskSource(source: string | URL, { signal }: OpenSourceOptions): Promise<FileSource> {
  const { readFile, readdir, stat } = await import("node:fs/promises");
  const { basename, dirname, join } = await import("node:path");
  const { fileURLToPath } = await import("node:url");
  const isUrl = source instanceof URL || source.startsWith("file:");
  const path = isUrl ? fileURLToPath(source) : (source as string);
  const isMissing = (error: unknown) =>
    ["ENOENT", "ENOTDIR", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
  const found = await stat(path).catch((error) => {
    if (isMissing(error)) throw new Error(`loadTokenizer: ${path} does not exist; expected a folder or a file`);
    throw error;
  });
  const folder = found.isDirectory() ? path : dirname(path);
  const label = (name: string) => (found.isDirectory() ? join(path, name) : join(folder, name));
  return {
    name: path,
    only: found.isDirectory() ? undefined : basename(path),
    list: () => readdir(folder),
    label,
    async read(name) {
      try {
        return await readFile(label(name), signal ? { signal } : {});
      } catch (error) {
        signal?.throwIfAborted();
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
  };
}

function urlSource(url: URL, options: OpenSourceOptions): FileSource {
  const isFile = FILE_NAME.test(url.pathname);
  const base = new URL(url);
  if (!isFile && !base.pathname.endsWith("/")) base.pathname += "/";
  // What comes after "?" (a token, a revision) belongs to every file; without its own part of the path.
  const place = (name: string): URL => {
    const target = new URL(encodeURIComponent(name), base);
    target.search = url.search;
    return target;
  };
  const fetchFile = options.fetch ?? globalThis.fetch;
  const shown = (target: URL) => target.origin + target.pathname; // a query can hold a secret
  return {
    name: shown(url),
    only: isFile ? decodeURIComponent(url.pathname.slice(url.pathname.lastIndexOf("/") + 1)) : undefined,
    list: async () => undefined,
    label: (name) => shown(place(name)),
    async read(name) {
      const target = place(name);
      const response = await fetchFile(target, options.signal ? { signal: options.signal } : {});
      if (response.status === 404 || response.status === 410) return undefined;
      if (!response.ok)
        throw new Error(`loadTokenizer: ${shown(target)} answered ${response.status} ${response.statusText}`.trim());
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

function memorySource(files: TokenizerFiles): FileSource {
  // Folders that a page got name their files "folder/file".
  const byName = new Map(Object.keys(files).map((key) => [key.slice(key.lastIndexOf("/") + 1), key]));
  return {
    name: "files in memory",
    only: undefined,
    list: async () => [...byName.keys()],
    label: (name) => name,
    async read(name) {
      const key = byName.get(name);
      const content = key === undefined ? undefined : files[key];
      if (content === undefined || typeof content === "string" || content instanceof Uint8Array) return content;
      if (content instanceof ArrayBuffer) return new Uint8Array(content);
      if (typeof (content as Blob).arrayBuffer === "function")
        return new Uint8Array(await (content as Blob).arrayBuffer());
      throw new TokenizerFormatError(`${name} is no Blob, ArrayBuffer, Uint8Array or string`);
    },
  };
}
