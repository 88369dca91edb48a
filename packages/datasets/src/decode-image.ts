import { FormatError } from "@genai/core";

/** Pixels of one picture. */
export interface DecodedImage {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha. */
  readonly channels: 1 | 2 | 3 | 4;
  /** Row-major, straight alpha: height * width * channels bytes. */
  readonly data: Uint8Array;
}

export interface DecodeImageOptions {
  /** What the bytes are called in errors. Default "image". */
  readonly name?: string;
  /** Bound on width times height, checked before anything is decoded. Default 2^26, 67 million. */
  readonly maxPixels?: number;
}

/**
 * Decodes a PNG or JPEG file, told apart by its first bytes: 16 bits are rounded to 8, palettes become colours, CMYK
 * becomes RGB, and JPEG pictures are turned upright as their EXIF data says. The decoders are loaded on demand.
 *
 * @throws FormatError if the bytes are neither, damaged or truncated, or hold more than `maxPixels`.
 */
export async function decodeImage(
  bytes: Uint8Array,
  { name = "image", maxPixels = 2 ** 26 }: DecodeImageOptions = {},
): Promise<DecodedImage> {
  const kind = kindOf(bytes);
  if (kind === undefined) {
    const start = Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new FormatError(
      `decodeImage: ${name} (${bytes.length} bytes) begins with ${start || "nothing"}; expected a PNG or JPEG file`,
    );
  }
  try {
    return await (kind === "png" ? decodePng(bytes, maxPixels) : decodeJpeg(bytes, maxPixels));
  } catch (cause) {
    const what = (cause instanceof Error ? cause.message : String(cause)).replace(/:? *$/, "");
    throw new FormatError(`decodeImage: ${name} is no whole ${kind.toUpperCase()} file (${what})`, { cause });
  }
}

function kindOf(bytes: Uint8Array): "png" | "jpeg" | undefined {
  if ([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte)) return "png";
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  return undefined;
}

function checkSize(width: number, height: number, maxPixels: number): void {
  if (width < 1 || height < 1) throw new Error(`it states ${width}x${height} pixels`);
  if (width * height > maxPixels) throw new Error(`it states ${width}x${height} pixels, more than ${maxPixels}`);
}

async function decodePng(bytes: Uint8Array, maxPixels: number): Promise<DecodedImage> {
  // The header comes first by the standard, so the size is known before memory is asked for.
  if (bytes.length < 33) throw new Error(`${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(12) !== 0x49484452) throw new Error("no IHDR at its beginning");
  checkSize(view.getUint32(16), view.getUint32(20), maxPixels);
  const { decode } = await import("fast-png");
  const { width, height, depth, channels, palette, transparency, data } = decode(bytes, { checkCrc: true });
  if (palette === undefined && bytes[25] === 3) throw new Error("no palette");
  const expected = height * Math.ceil((width * channels * depth) / Math.max(depth, 8));
  if (data.length !== expected) throw new Error(`${data.length} values, expected ${expected}`);
  if (palette !== undefined) return { width, height, ...fromPalette(unpack(data, width, height, depth), palette) };
  const samples = depth < 8 ? unpack(data, width, height, depth) : data;
  const top = 2 ** depth - 1;
  const values = depth === 8 ? Uint8Array.from(samples) : Uint8Array.from(samples, (v) => Math.round((255 * v) / top));
  if (transparency === undefined || transparency.length === 0 || channels === 2 || channels === 4) {
    return { width, height, channels: channels as DecodedImage["channels"], data: values };
  }
  // One colour stands for full transparency.
  const out = new Uint8Array(width * height * (channels + 1));
  for (let i = 0; i < width * height; i++) {
    let clear = true;
    for (let c = 0; c < channels; c++) {
      out[i * (channels + 1) + c] = values[i * channels + c]!;
      if (samples[i * channels + c] !== transparency[c]) clear = false;
    }
    out[i * (channels + 1) + channels] = clear ? 0 : 255;
  }
  return { width, height, channels: (channels + 1) as 2 | 4, data: out };
}

/** One value for every sample of rows that hold several in a byte. */
function unpack(data: ArrayLike<number>, width: number, height: number, depth: number): Uint8Array {
  const rowBytes = Math.ceil((width * depth) / 8);
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      out[y * width + x] = (data[y * rowBytes + (bit >> 3)]! >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
    }
  }
  return out;
}

function fromPalette(indices: Uint8Array, palette: readonly (readonly number[])[]) {
  const channels = palette.some((colour) => colour.length === 4) ? 4 : 3;
  const data = new Uint8Array(indices.length * channels);
  for (const [i, index] of indices.entries()) {
    const colour = palette[index];
    if (colour === undefined) throw new Error(`colour ${index} of a palette of ${palette.length}`);
    for (let c = 0; c < channels; c++) data[i * channels + c] = colour[c] ?? 255;
  }
  return { channels, data } as const;
}

async function decodeJpeg(bytes: Uint8Array, maxPixels: number): Promise<DecodedImage> {
  const { components, frame, height, orientation, width } = jpegHeader(bytes);
  checkSize(width, height, maxPixels);
  const { default: jpeg } = await import("jpeg-js");
  const memory = Math.ceil((64 * width * height) / 2 ** 20) + 64;
  const decoded = jpeg.decode(bytes, {
    useTArray: true,
    formatAsRGBA: true,
    tolerantDecoding: false,
    maxResolutionInMP: maxPixels / 1e6,
    maxMemoryUsageInMB: memory,
  });
  // The decoder leaves grey what a cut-off file lacks.
  if (!endsWhole(bytes, frame)) throw new Error("no end marker: it is truncated");
  if (decoded.width !== width || decoded.height !== height) throw new Error("two different sizes");
  const channels = components === 1 ? 1 : 3;
  const data = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < channels; c++) data[i * channels + c] = decoded.data[i * 4 + c]!;
  }
  return upright({ width, height, channels, data }, orientation);
}

/** Whether an end marker follows the frame. Coded data holds none by chance, and some cameras put more after it. */
function endsWhole(bytes: Uint8Array, frame: number): boolean {
  for (let i = bytes.indexOf(0xff, frame); i >= 0; i = bytes.indexOf(0xff, i + 1)) {
    if (bytes[i + 1] === 0xd9) return true;
  }
  return false;
}

/** Place of the frame, size, components and EXIF orientation (1 to 8) of a JPEG, without decoding it. */
function jpegHeader(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let orientation = 1;
  for (let at = 2; at + 9 < bytes.length; ) {
    if (bytes[at] !== 0xff) throw new Error(`no marker at byte ${at}`);
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) {
      const [height, width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
      return { frame: at, height, width, components: bytes[at + 9]!, orientation };
    }
    const length = view.getUint16(at + 2);
    if (marker === 0xe1) orientation = exifOrientation(bytes.subarray(at + 4, at + 2 + length)) ?? orientation;
    at += 2 + Math.max(2, length);
  }
  throw new Error("no frame");
}

/** Tag 0x0112 of the first directory of an EXIF segment. */
function exifOrientation(segment: Uint8Array): number | undefined {
  if (segment.length < 14 || String.fromCharCode(...segment.subarray(0, 6)) !== "Exif\0\0") return undefined;
  const tiff = segment.subarray(6);
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const little = view.getUint16(0) === 0x4949;
  const start = view.getUint32(4, little);
  if (start + 2 > tiff.length) return undefined;
  const entries = view.getUint16(start, little);
  for (let i = 0; i < entries; i++) {
    const at = start + 2 + 12 * i;
    if (at + 12 > tiff.length) return undefined;
    if (view.getUint16(at, little) !== 0x0112) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}

/** Undoes the camera's orientation: 2 to 4 mirror and turn by 180 degrees, 5 to 8 also swap the axes. */
function upright(image: DecodedImage, orientation: number): DecodedImage {
  if (orientation === 1) return image;
  const { width, height, channels, data } = image;
  const swap = orientation >= 5;
  const [outWidth, outHeight] = swap ? [height, width] : [width, height];
  const flipX = [2, 3, 7, 8].includes(orientation);
  const flipY = [3, 4, 6, 7].includes(orientation);
  const out = new Uint8Array(data.length);
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const [u, v] = swap ? [y, x] : [x, y];
      const from = (flipY ? height - 1 - v : v) * width + (flipX ? width - 1 - u : u);
      for (let c = 0; c < channels; c++) out[(y * outWidth + x) * channels + c] = data[from * channels + c]!;
    }
  }
  return { width: outWidth, height: outHeight, channels, data: out };
}

/** Lays pixels with straight alpha (grey or colour, then alpha) over a background; `colours` is 1 or 3. */
export function overBackground(data: Uint8Array, colours: 1 | 3, background: readonly number[]): Uint8Array {
  const pixels = data.length / (colours + 1);
  const out = new Uint8Array(pixels * colours);
  for (let i = 0; i < pixels; i++) {
    const alpha = data[i * (colours + 1) + colours]! / 255;
    for (let c = 0; c < colours; c++) {
      const value = data[i * (colours + 1) + c]!;
      out[i * colours + c] = Math.round(value * alpha + background[c]! * (1 - alpha));
    }
  }
  return out;
}
