import type { DecodedImage } from "./decode-image.ts";

/**
 * Scales a picture with a triangle filter that widens when shrinking, so that nothing aliases (Pillow's BILINEAR). Colours
 * with alpha are weighted by it, so that the colour of transparent pixels does not bleed.
 *
 * @param size [height, width] in pixels.
 */
export function resizeImage(image: DecodedImage, size: readonly [height: number, width: number]): DecodedImage {
  const [height, width] = size;
  for (const value of size) {
    if (!Number.isInteger(value) || value < 1) {
      throw new Error(`resizeImage: size [${size}] must be two whole numbers of at least 1`);
    }
  }
  if (image.width === width && image.height === height) return image;
  const { channels } = image;
  const hasAlpha = channels === 2 || channels === 4;
  let values: Float32Array = Float32Array.from(image.data);
  if (hasAlpha) weightByAlpha(values, channels, (value, alpha) => value * alpha);
  values = resample(values, image.height, 1, image.width * channels, height);
  values = resample(values, image.width, height, channels, width);
  if (hasAlpha) weightByAlpha(values, channels, (value, alpha) => (alpha === 0 ? 0 : value / alpha));
  const data = Uint8Array.from(values, (value) => Math.min(255, Math.max(0, Math.round(value))));
  return { width, height, channels, data };
}

/** The largest part in the middle of a picture that has the proportions of [height, width]. */
export function cropToProportions(image: DecodedImage, [height, width]: readonly [number, number]): DecodedImage {
  const wide = image.width * height > image.height * width;
  const cropWidth = wide ? Math.max(1, Math.round((image.height * width) / height)) : image.width;
  const cropHeight = wide ? image.height : Math.max(1, Math.round((image.width * height) / width));
  if (cropWidth === image.width && cropHeight === image.height) return image;
  const left = (image.width - cropWidth) >> 1;
  const top = (image.height - cropHeight) >> 1;
  const { channels } = image;
  const data = new Uint8Array(cropHeight * cropWidth * channels);
  for (let y = 0; y < cropHeight; y++) {
    const from = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + cropWidth * channels), y * cropWidth * channels);
  }
  return { width: cropWidth, height: cropHeight, channels, data };
}

function weightByAlpha(values: Float32Array, channels: number, weight: (value: number, alpha: number) => number): void {
  for (let i = 0; i < values.length; i += channels) {
    const alpha = values[i + channels - 1]! / 255;
    for (let c = 0; c < channels - 1; c++) values[i + c] = weight(values[i + c]!, alpha);
  }
}

/** Scales the middle axis of values of shape [outer, from, inner] to `to`. */
function resample(values: Float32Array, from: number, outer: number, inner: number, to: number): Float32Array {
  if (from === to) return values;
  const out = new Float32Array(outer * to * inner);
  const scale = from / to;
  const reach = Math.max(1, scale);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach));
    const last = Math.min(from - 1, Math.ceil(centre + reach));
    const weights: number[] = [];
    let sum = 0;
    for (let j = first; j <= last; j++) {
      const weight = Math.max(0, 1 - Math.abs(j + 0.5 - centre) / reach);
      weights.push(weight);
      sum += weight;
    }
    for (let o = 0; o < outer; o++) {
      for (let k = 0; k < inner; k++) {
        let total = 0;
        for (let j = first; j <= last; j++) total += weights[j - first]! * values[(o * from + j) * inner + k]!;
        out[(o * to + i) * inner + k] = total / sum;
      }
    }
  }
  return out;
}
