import { encode } from "fast-png";

/** Images on the host: [N, H, W, C] values in [0, 1] in row-major order; C is 1 (grey), 3 (RGB) or 4 (RGBA). */
export interface HostImages {
  readonly data: Float32Array;
  readonly shape: readonly [count: number, height: number, width: number, channels: number];
}

export interface ContactSheetOptions {
  readonly columns: number;
  /** Pixels of the sheet for each pixel of an image; by default as many as make images about 84 pixels high. */
  readonly scale?: number;
  /** Pixels between images; 2 by default. */
  readonly gap?: number;
}

/** A PNG file with the images in rows from left to right; transparent ones lie on white. */
export function contactSheet(images: HostImages, options: ContactSheetOptions): Uint8Array {
  const [count, height, width, channels] = images.shape;
  if (channels === 4) return contactSheet(overWhite(images), options);
  const { columns, scale = Math.max(1, Math.round(84 / height)), gap = 2 } = options;
  if (channels !== 1 && channels !== 3) {
    throw new Error(`contactSheet: images have ${channels} channels; expected 1, 3 or 4`);
  }
  if (images.data.length !== count * height * width * channels) {
    throw new Error(`contactSheet: ${images.data.length} values do not fill the shape [${images.shape}]`);
  }
  const rows = Math.ceil(count / columns);
  const cellHeight = height * scale + gap;
  const cellWidth = width * scale + gap;
  const sheetWidth = columns * cellWidth + gap;
  const sheetHeight = rows * cellHeight + gap;
  const data = new Uint8Array(sheetWidth * sheetHeight * channels).fill(64);
  for (let n = 0; n < count; n++) {
    const top = gap + Math.floor(n / columns) * cellHeight;
    const left = gap + (n % columns) * cellWidth;
    for (let y = 0; y < height * scale; y++) {
      for (let x = 0; x < width * scale; x++) {
        const from = ((n * height + Math.floor(y / scale)) * width + Math.floor(x / scale)) * channels;
        const to = ((top + y) * sheetWidth + left + x) * channels;
        for (let c = 0; c < channels; c++) {
          data[to + c] = Math.round(255 * Math.min(1, Math.max(0, images.data[from + c]!)));
        }
      }
    }
  }
  return encode({ width: sheetWidth, height: sheetHeight, data, depth: 8, channels });
}

function overWhite({ data, shape: [count, height, width] }: HostImages): HostImages {
  const rgb = new Float32Array(count * height * width * 3);
  for (let pixel = 0; pixel < count * height * width; pixel++) {
    const alpha = Math.min(1, Math.max(0, data[4 * pixel + 3]!));
    for (let c = 0; c < 3; c++) rgb[3 * pixel + c] = alpha * data[4 * pixel + c]! + 1 - alpha;
  }
  return { data: rgb, shape: [count, height, width, 3] };
}
