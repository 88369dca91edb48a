import type { Rng } from "@genai/core";
import { checkWhole } from "./check-options.ts";
import type { VideoSet } from "./dataset.ts";
import { drawDigits } from "./drawn-digits.ts";

export interface MovingDigitsOptions {
  /** How many clips. */
  readonly count: number;
  readonly rng: Rng;
  /** Frames in a clip. Default 20. */
  readonly frames?: number;
  /** Height and width in pixels. Default 64. */
  readonly size?: number;
  /** Digits in a clip. Default 2. */
  readonly digits?: number;
  /** Height and width of a digit's own frame in pixels, at least 8 and below `size`. Default 28. */
  readonly digitSize?: number;
}

/** Clips with the digits in them. */
export interface MovingDigitsSet extends VideoSet {
  /** Row-major: n * digits values 0 to 9. */
  readonly digits: Uint8Array;
}

/**
 * Clips of drawn digits that move straight and bounce off the walls, in the manner of Moving MNIST (N. Srivastava et al.,
 * "Unsupervised learning of video representations using LSTMs", 2015). A digit moves by 1/32 to 1/8 of `size` a frame;
 * where digits overlap the brighter pixel shows.
 *
 * @returns videos as bytes, shape [count, frames, size, size, 1].
 */
export function movingDigits(options: MovingDigitsOptions): MovingDigitsSet {
  const { count, rng, frames = 20, size = 64, digits = 2, digitSize = 28 } = options;
  checkWhole("movingDigits", { frames, size, digits, digitSize }, 1);
  checkWhole("movingDigits", { count });
  if (digitSize < 8 || digitSize >= size) {
    throw new Error(`movingDigits: digitSize (${digitSize}) must be at least 8 and below size (${size})`);
  }
  const stream = rng.fork("movingDigits");
  const drawn = drawDigits({ count: count * digits, rng: stream, size: digitSize });
  const paths = stream.draw({ kind: "uniform", size: 4 * count * digits, low: 0, high: 1 });
  const videos = new Uint8Array(count * frames * size * size);
  const room = size - digitSize;
  for (let i = 0; i < count * digits; i++) {
    const digit = drawn.images.subarray(i * digitSize ** 2, (i + 1) * digitSize ** 2);
    const clip = Math.floor(i / digits) * frames * size * size;
    const angle = 2 * Math.PI * paths[4 * i + 2]!;
    const speed = size * (1 / 32 + (3 / 32) * paths[4 * i + 3]!);
    for (let t = 0; t < frames; t++) {
      const left = bounce(paths[4 * i]! * room + t * speed * Math.cos(angle), room);
      const top = bounce(paths[4 * i + 1]! * room + t * speed * Math.sin(angle), room);
      stamp(digit, digitSize, videos.subarray(clip + t * size * size, clip + (t + 1) * size * size), size, left, top);
    }
  }
  return {
    name: "moving-digits",
    source: "drawn by strokes, without any data",
    licence: "Apache-2.0",
    videos,
    shape: [count, frames, size, size, 1],
    digits: drawn.labels,
  };
}

/** The whole place in [0, room] that a straight way ends at when it is reflected at both ends. */
function bounce(way: number, room: number): number {
  const lap = ((way % (2 * room)) + 2 * room) % (2 * room);
  return Math.round(lap <= room ? lap : 2 * room - lap);
}

function stamp(digit: Uint8Array, side: number, frame: Uint8Array, size: number, left: number, top: number): void {
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const at = (top + y) * size + left + x;
      frame[at] = Math.max(frame[at]!, digit[y * side + x]!);
    }
  }
}
