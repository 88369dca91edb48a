import { FormatError, throwIfAborted } from "@genai/core";
import { checkChoice } from "./check-options.ts";
import type { ImageSet } from "./dataset.ts";
import { type DecodedImage, decodeImage, overBackground } from "./decode-image.ts";
import { isNode, whyUnreadable } from "./platform.ts";
import { cropToProportions, resizeImage } from "./resize-image.ts";
import { checkUserFiles, nameOfUserFile, readUserFile, type UserFile } from "./user-file.ts";

export interface LoadImageFolderOptions {
  /** Height and width of the result, or both at once. Without it all images must have one size. */
  readonly size?: number | readonly [height: number, width: number];
  /** With `size`: cut the middle out of images of other proportions, or distort them. Default "crop". */
  readonly fit?: "crop" | "stretch";
  /** Grey, RGB or RGBA (straight alpha). Default: RGB as soon as one image is in colour, grey otherwise. */
  readonly channels?: 1 | 3 | 4;
  /** What transparent pixels lie on when `channels` is not 4: red, green, blue. Default white. */
  readonly background?: readonly [number, number, number];
  /** Whether an image that cannot be read is an error (after all were tried) or left out. Default "throw". */
  readonly onBroken?: "throw" | "skip";
  readonly name?: string;
  readonly source?: string;
  readonly licence?: string;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

/** Images of one's own. */
export interface ImageFolderSet extends ImageSet {
  /** Files that were left out, and why. */
  readonly broken: readonly { readonly file: string; readonly reason: string }[];
  /** The file of every image as it was loaded; `subset` and `take` leave this list as it is. */
  readonly files: readonly string[];
}

/**
 * PNG and JPEG images of your own: a folder (Node), or the files of one (browsers: an `<input webkitdirectory>`'s FileList,
 * dropped Files, addresses). Files of other kinds are passed over, hidden ones too. Order: by path. Classes are the
 * folders directly below that one, as far as images lie in them; otherwise there is one class.
 *
 * @returns images as bytes, shape [n, height, width, channels].
 * @throws FormatError naming the broken images, or two images of different sizes when no `size` is given, or saying that
 * there are no images; AbortError.
 */
export async function loadImageFolder(
  folder: string | Iterable<UserFile> | ArrayLike<File>,
  options: LoadImageFolderOptions = {},
): Promise<ImageFolderSet> {
  const { onBroken = "throw", signal, onProgress } = options;
  checkUserFiles("loadImageFolder", folder);
  const target = checkOptions(options);
  const found = typeof folder === "string" ? await listFolder(folder) : listGiven(folder);
  const files = found.filter(({ path }) => typeof folder !== "string" || /\.(png|jpe?g)$/i.test(path));
  if (files.length === 0) {
    const kinds = [...new Set(found.map(({ path }) => /\.[^./]*$/.exec(path)?.[0] ?? "none"))].slice(0, 5);
    const there = found.length === 0 ? "no files" : `${found.length} files with the endings ${kinds.join(", ")}`;
    const where = typeof folder === "string" ? folder : "the list of files";
    throw new FormatError(`loadImageFolder: ${where} holds ${there}; expected .png, .jpg or .jpeg`);
  }
  const pixels = new Pixels(files.length, options, target);
  const kept: string[] = [];
  const broken: { file: string; reason: string }[] = [];
  for (const [i, { file, path }] of files.entries()) {
    let image: DecodedImage | undefined;
    try {
      image = await decodeImage(await readUserFile("loadImageFolder", file, signal), { name: path });
    } catch (error) {
      throwIfAborted("loadImageFolder", signal);
      broken.push({ file: path, reason: (error as Error).message.replace(/^\w+: /, "") });
    }
    if (image !== undefined) {
      pixels.add(image, path);
      kept.push(path);
    }
    onProgress?.({ done: i + 1, total: files.length });
  }
  if (broken.length > 0 && (onBroken === "throw" || kept.length === 0)) {
    const named = broken.slice(0, 10).map(({ reason }) => reason);
    const more = broken.length > named.length ? [`and ${broken.length - named.length} more`] : [];
    throw new FormatError(
      `loadImageFolder: ${broken.length} of ${files.length} images cannot be read: ${[...named, ...more].join("; ")}; expected whole ones, or onBroken: "skip"`,
    );
  }
  const { images, shape } = pixels.finish();
  return {
    name: options.name ?? "image-folder",
    source: options.source ?? "your own files",
    licence: options.licence ?? "yours",
    images,
    shape,
    ...classesOf(kept),
    broken,
    files: kept,
  };
}

function checkOptions(options: LoadImageFolderOptions): readonly [number, number] | undefined {
  const { channels, fit = "crop", onBroken = "throw", size } = options;
  const pair = typeof size === "number" ? ([size, size] as const) : size;
  if (pair?.some((value) => !Number.isInteger(value) || value < 1)) {
    throw new Error(`loadImageFolder: size (${size}) must be a whole number of at least 1, or two: height, width`);
  }
  if (channels !== undefined && channels !== 1 && channels !== 3 && channels !== 4) {
    throw new Error(`loadImageFolder: channels (${channels}) must be 1, 3 or 4`);
  }
  checkChoice("loadImageFolder", "fit", fit, ["crop", "stretch"]);
  checkChoice("loadImageFolder", "onBroken", onBroken, ["throw", "skip"]);
  return pair;
}

interface ListedFile {
  readonly file: UserFile;
  /** Below the folder, with forward slashes. */
  readonly path: string;
}

const byPath = (a: ListedFile, b: ListedFile) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
const isHidden = (path: string) =>
  path.split("/").some((part) => part.startsWith(".") && part !== "." && part !== "..");

async function listFolder(folder: string): Promise<ListedFile[]> {
  if (!isNode()) throw new Error("loadImageFolder: a path needs Node; expected Files or addresses in a browser");
  const { readdir } = await import("node:fs/promises");
  const { join, relative, sep } = await import("node:path");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause) => {
    throw new Error(`loadImageFolder: ${folder} cannot be read (${whyUnreadable(cause)})`, { cause });
  });
  return entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ file, path: relative(folder, file).split(sep).join("/") }))
    .filter(({ path }) => !isHidden(path))
    .sort(byPath);
}

function listGiven(files: Iterable<UserFile> | ArrayLike<File>): ListedFile[] {
  return Array.from(files as ArrayLike<UserFile>)
    .map((file) => {
      const name = nameOfUserFile(file);
      const chosen = file instanceof Blob && (file as { webkitRelativePath?: string }).webkitRelativePath;
      // A chosen folder's files carry its name in front.
      return { file, path: chosen ? name.slice(name.indexOf("/") + 1) : name, chosen };
    })
    .filter(({ chosen, path }) => !chosen || (!isHidden(path) && /\.(png|jpe?g)$/i.test(path)))
    .sort(byPath);
}

/** Labels from the first folder of each path, if every image lies in one. */
function classesOf(paths: readonly string[]): { labels: Uint8Array; classes: readonly string[] } {
  const folders = paths.map((path) => (isAbsolute(path) ? undefined : /^([^/]+)\//.exec(path)?.[1]));
  const classes = [...new Set(folders)].sort();
  if (classes.some((name) => name === undefined)) return { labels: new Uint8Array(paths.length), classes: ["image"] };
  if (classes.length > 256) {
    throw new FormatError(`loadImageFolder: ${classes.length} folders with images; expected at most 256 classes`);
  }
  const index = new Map(classes.map((name, i) => [name, i]));
  return { labels: Uint8Array.from(folders, (name) => index.get(name)!), classes: classes as string[] };
}

const isAbsolute = (path: string) => path.startsWith("/") || /^[a-z]+:/i.test(path);

/** One array of all images, which turns from grey to colour when the first image in colour comes. */
class Pixels {
  readonly #capacity: number;
  readonly #options: LoadImageFolderOptions;
  readonly #target: readonly [number, number] | undefined;
  #first: { readonly path: string; readonly width: number; readonly height: number } | undefined;
  #channels: 1 | 3 | 4;
  #data = new Uint8Array(0);
  #count = 0;

  constructor(capacity: number, options: LoadImageFolderOptions, target: readonly [number, number] | undefined) {
    this.#capacity = capacity;
    this.#options = options;
    this.#target = target;
    this.#channels = options.channels ?? 1;
  }

  add(decoded: DecodedImage, path: string): void {
    const { channels, fit = "crop" } = this.#options;
    const shaped = this.#target && fit === "crop" ? cropToProportions(decoded, this.#target) : decoded;
    const image = this.#target ? resizeImage(shaped, this.#target) : shaped;
    const { height, width } = image;
    if (this.#first === undefined) {
      this.#first = { path, width, height };
      if (channels === undefined && image.channels > 2) this.#channels = 3;
      this.#data = new Uint8Array(this.#capacity * height * width * this.#channels);
    }
    if (this.#first.width !== width || this.#first.height !== height) {
      throw new FormatError(
        `loadImageFolder: ${this.#first.path} is ${this.#first.width}x${this.#first.height} pixels and ${path} ${width}x${height}; expected one size, or the option size`,
      );
    }
    if (channels === undefined && this.#channels === 1 && image.channels > 2) {
      const used = this.#count * height * width;
      const colour = new Uint8Array(this.#capacity * height * width * 3);
      for (let i = 0; i < used; i++) colour.fill(this.#data[i]!, 3 * i, 3 * i + 3);
      this.#data = colour;
      this.#channels = 3;
    }
    const { background = [255, 255, 255] } = this.#options;
    this.#data.set(withChannels(image, this.#channels, background), this.#count * height * width * this.#channels);
    this.#count += 1;
  }

  finish(): { images: Uint8Array; shape: [number, number, number, number] } {
    const { width, height } = this.#first!;
    const size = this.#count * height * width * this.#channels;
    // Copied when images were left out, so that the set takes no more memory than its bytes.
    const images = size === this.#data.length ? this.#data : this.#data.slice(0, size);
    return { images, shape: [this.#count, height, width, this.#channels] };
  }
}

/** Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). */
function withChannels(image: DecodedImage, channels: 1 | 3 | 4, background: readonly number[]): Uint8Array {
  const luma = (r: number, g: number, b: number) => Math.round(0.299 * r + 0.587 * g + 0.114 * b);
  let { data, channels: has } = image;
  if (has === channels) return data;
  if (channels !== 4 && (has === 2 || has === 4)) {
    const colours = has === 2 ? 1 : 3;
    const [r = 255, g = 255, b = 255] = background;
    data = overBackground(data, colours, colours === 1 ? [luma(r, g, b)] : background);
    has = colours;
    if (has === channels) return data;
  }
  const pixels = data.length / has;
  const out = new Uint8Array(pixels * channels);
  for (let i = 0; i < pixels; i++) {
    const at = i * has;
    const [r, g, b] = has < 3 ? [data[at]!, data[at]!, data[at]!] : [data[at]!, data[at + 1]!, data[at + 2]!];
    if (channels === 1) out[i] = luma(r, g, b);
    else {
      out.set([r, g, b], i * channels);
      if (channels === 4) out[i * 4 + 3] = has === 2 || has === 4 ? data[at + has - 1]! : 255;
    }
  }
  return out;
}
