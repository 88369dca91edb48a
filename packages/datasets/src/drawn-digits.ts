import type { Rng } from "@genai/core";
import { checkWhole } from "./check-options.ts";
import type { ImageSet } from "./dataset.ts";
import { digitOutlines, type Outline } from "./digit-outlines.ts";

export interface DrawDigitsOptions {
  /** How many images. The ten classes come in equal numbers (to within one), in random order. */
  readonly count: number;
  readonly rng: Rng;
  /** Height and width in pixels, at least 8. Default 28. */
  readonly size?: number;
}

/** Uniform numbers set aside for an image; the style with the most control points uses 139. */
const numbersPerImage = 160;

/**
 * Digits drawn by strokes in the manner of MNIST, with no network: white on black, sized into 20/28 of the frame and
 * centred on their centre of mass, with random writing style, slant, proportions, wobble and thickness of the pen.
 *
 * @returns images as bytes, shape [count, size, size, 1].
 */
export function drawDigits({ count, rng, size = 28 }: DrawDigitsOptions): ImageSet {
  checkWhole("drawDigits", { count });
  checkWhole("drawDigits", { size }, 8);
  const stream = rng.fork("drawDigits");
  const labels = Uint8Array.from(stream.draw({ kind: "permutation", size: count }), (i) => i % 10);
  const images = new Uint8Array(count * size * size);
  const pen = new Pen(size);
  for (let i = 0; i < count; i++) {
    const numbers = stream.draw({ kind: "uniform", size: numbersPerImage, low: 0, high: 1 }) as Float32Array;
    pen.draw(labels[i]!, numbers, images.subarray(i * size * size, (i + 1) * size * size));
  }
  return {
    name: "drawn-digits",
    source: "drawn by strokes, without any data",
    licence: "Apache-2.0",
    images,
    labels,
    shape: [count, size, size, 1],
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  };
}

/** Draws one digit after another, reusing its buffers. */
class Pen {
  readonly #size: number;
  readonly #x = new Float32Array(512);
  readonly #y = new Float32Array(512);
  /** Whether the point ends a stroke. */
  readonly #last = new Uint8Array(512);
  readonly #radius = new Float32Array(512);
  readonly #ink: Float32Array;

  constructor(size: number) {
    this.#size = size;
    this.#ink = new Float32Array(size * size);
  }

  draw(label: number, numbers: Float32Array, out: Uint8Array): void {
    let at = 0;
    const uniform = (low: number, high: number) => low + (high - low) * numbers[at++]!;
    /** Bell-shaped, standard deviation `spread`, never beyond 2.4 of them. */
    const bell = (spread: number) => (numbers[at++]! + numbers[at++]! + numbers[at++]! - 1.5) * 2 * spread;

    const styles = digitOutlines[label]!;
    let pick = numbers[at++]! * styles.reduce((sum, style) => sum + style.weight, 0);
    let style: Outline = styles[0]!;
    for (const candidate of styles) {
      style = candidate;
      pick -= candidate.weight;
      if (pick < 0) break;
    }
    const n = this.#trace(style, bell);
    this.#bend(n, uniform, bell);
    const scale = this.#size / 28;
    this.#fit(n, 20 * scale);
    this.#press(n, scale, uniform, bell);
    this.#stamp(n, out, uniform(0.85, 1));
  }

  /** Turns the style's control points, each moved a little, into smooth polylines; returns the number of points. */
  #trace(style: Outline, bell: (spread: number) => number): number {
    let n = 0;
    for (const stroke of style.strokes) {
      const points = stroke.map(([x, y]) => [x + bell(0.022), y + bell(0.022)] as const);
      const steps = 5;
      for (let i = 0; i + 1 < points.length; i++) {
        const [x0, y0] = points[Math.max(i - 1, 0)]!;
        const [x1, y1] = points[i]!;
        const [x2, y2] = points[i + 1]!;
        const [x3, y3] = points[Math.min(i + 2, points.length - 1)]!;
        for (let s = i === 0 ? 0 : 1; s <= steps; s++) {
          const t = s / steps;
          this.#x[n] = catmullRom(x0, x1, x2, x3, t);
          this.#y[n] = catmullRom(y0, y1, y2, y3, t);
          this.#last[n] = 0;
          n += 1;
        }
      }
      this.#last[n - 1] = 1;
    }
    return n;
  }

  /** Slant, rotation, proportions, and a slow wobble of the hand. */
  #bend(n: number, uniform: (low: number, high: number) => number, bell: (spread: number) => number): void {
    const turn = bell(0.1);
    const slant = 0.1 + bell(0.17);
    const wide = Math.exp(bell(0.14));
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    const waveX = bell(0.022);
    const waveY = bell(0.022);
    const phaseX = uniform(0, 2 * Math.PI);
    const phaseY = uniform(0, 2 * Math.PI);
    const rate = uniform(2.5, 6);
    const taper = bell(0.12);
    for (let i = 0; i < n; i++) {
      let x = this.#x[i]! - 0.5;
      let y = this.#y[i]! - 0.5;
      const wx = waveX * Math.sin(rate * y + phaseX);
      const wy = waveY * Math.sin(rate * x + phaseY);
      x = (x + wx) * wide * (1 + taper * y * 2);
      y += wy;
      x -= slant * y; // y grows downwards: a positive slant leans to the right
      this.#x[i] = cos * x - sin * y;
      this.#y[i] = sin * x + cos * y;
    }
  }

  /** Scales the longer side of the box around the points to `side` pixels. */
  #fit(n: number, side: number): void {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      left = Math.min(left, this.#x[i]!);
      right = Math.max(right, this.#x[i]!);
      top = Math.min(top, this.#y[i]!);
      bottom = Math.max(bottom, this.#y[i]!);
    }
    const factor = side / Math.max(right - left, bottom - top, 1e-6);
    for (let i = 0; i < n; i++) {
      this.#x[i] = (this.#x[i]! - left) * factor;
      this.#y[i] = (this.#y[i]! - top) * factor;
    }
  }

  /** Sets the pen's radius along the way, then shrinks the drawing by it and centres it on its centre of mass. */
  #press(
    n: number,
    scale: number,
    uniform: (low: number, high: number) => number,
    bell: (spread: number) => number,
  ): void {
    const base = Math.max(0.55, 1.12 + bell(0.3)) * scale;
    const swell = uniform(0, 0.22);
    const phase = uniform(0, 2 * Math.PI);
    const rate = uniform(0.1, 0.35);
    const shrink = 1 - (1.6 * base) / (20 * scale);
    let [mass, sumX, sumY] = [0, 0, 0];
    let [right, bottom, widest] = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      this.#radius[i] = base * (1 + swell * Math.sin(rate * i + phase));
      this.#x[i] = this.#x[i]! * shrink;
      this.#y[i] = this.#y[i]! * shrink;
      right = Math.max(right, this.#x[i]!);
      bottom = Math.max(bottom, this.#y[i]!);
      widest = Math.max(widest, this.#radius[i]!);
      if (i === 0 || this.#last[i - 1] === 1) continue;
      const length = Math.hypot(this.#x[i]! - this.#x[i - 1]!, this.#y[i]! - this.#y[i - 1]!) * this.#radius[i]!;
      mass += length;
      sumX += (length * (this.#x[i]! + this.#x[i - 1]!)) / 2;
      sumY += (length * (this.#y[i]! + this.#y[i - 1]!)) / 2;
    }
    // MNIST centres to whole pixels, which leaves up to half a pixel.
    const middle = this.#size / 2;
    // A heavy side must not push the other one out of the frame.
    const reach = widest + 0.6 + 0.5;
    const within = (shift: number, far: number) => Math.max(reach, Math.min(this.#size - reach - far, shift));
    const dx = within(middle - sumX / mass + uniform(-0.5, 0.5) * scale, right);
    const dy = within(middle - sumY / mass + uniform(-0.5, 0.5) * scale, bottom);
    for (let i = 0; i < n; i++) {
      this.#x[i] = this.#x[i]! + dx;
      this.#y[i] = this.#y[i]! + dy;
    }
  }

  /** Inks every pixel by its distance to the nearest piece of the polylines, anti-aliased over one pixel. */
  #stamp(n: number, out: Uint8Array, strength: number): void {
    const size = this.#size;
    const ink = this.#ink.fill(0);
    for (let i = 1; i < n; i++) {
      if (this.#last[i - 1] === 1) continue;
      const [x0, y0, x1, y1] = [this.#x[i - 1]!, this.#y[i - 1]!, this.#x[i]!, this.#y[i]!];
      const radius = this.#radius[i]!;
      const reach = radius + 0.6;
      const left = Math.max(0, Math.ceil(Math.min(x0, x1) - reach - 0.5));
      const right = Math.min(size - 1, Math.floor(Math.max(x0, x1) + reach - 0.5));
      const top = Math.max(0, Math.ceil(Math.min(y0, y1) - reach - 0.5));
      const bottom = Math.min(size - 1, Math.floor(Math.max(y0, y1) + reach - 0.5));
      const [ux, uy] = [x1 - x0, y1 - y0];
      const scale = 1 / (ux * ux + uy * uy + 1e-12);
      for (let row = top; row <= bottom; row++) {
        const py = row + 0.5 - y0;
        for (let column = left; column <= right; column++) {
          const px = column + 0.5 - x0;
          const t = Math.min(1, Math.max(0, (px * ux + py * uy) * scale));
          const ex = px - t * ux;
          const ey = py - t * uy;
          const value = (radius + 0.6 - Math.sqrt(ex * ex + ey * ey)) / 1.2;
          if (value > ink[row * size + column]!) ink[row * size + column] = value;
        }
      }
    }
    for (let i = 0; i < ink.length; i++) out[i] = Math.round(255 * Math.min(1, ink[i]! * 1.1) * strength);
  }
}

/** The Catmull-Rom spline through b (t = 0) and c (t = 1). */
function catmullRom(a: number, b: number, c: number, d: number, t: number): number {
  return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}
