import { type CodeBits, FormatError, type GroupSize } from "@genai/core";

// MLX's groups of rounded weights, w = scale code + bias, and ours, w = scale (code - zero point).
//
// MLX places a group's codes so that the weight of the largest magnitude, and zero, have one of their own: the bias is a whole
// multiple of the scale, but for the type that both are written in, and the multiple, with its sign turned, is the zero point.
// The rule is `quantize` in mlx/backend/cpu/quantized.cpp.

/** The groups of a matrix as files hold them. */
export interface AffineGroups {
  /** U32, the first code in the lowest bits. */
  readonly codes: Uint32Array;
  readonly scales: Float32Array;
  readonly biases: Float32Array;
  readonly bits: CodeBits;
  readonly groupSize: GroupSize;
  /** The type of scales and biases in the file. */
  readonly dtype: string;
}

/** The same groups with zero points; without them all are in the middle of the codes. */
export interface ZeroPointGroups {
  readonly codes: Uint32Array;
  readonly scales: Float32Array;
  readonly zeroPoints?: Uint8Array;
}

/**
 * Zero points for biases. A group whose weights all have one sign, far from zero, has none among the codes: such groups are
 * rounded again, from the code nearest to zero on.
 *
 * @param where begins the message of errors
 * @throws FormatError for scales and biases that are no numbers, and biases that are no multiples of their scales
 */
export function toZeroPoints(
  where: string,
  { codes: given, scales: givenScales, biases, bits, groupSize, dtype }: AffineGroups,
): ZeroPointGroups {
  const middle = 2 ** (bits - 1);
  const largest = 2 ** bits - 1;
  const zeroPoints = new Uint8Array(givenScales.length);
  let [codes, scales] = [given, givenScales];
  for (const [i, scale] of givenScales.entries()) {
    const bias = biases[i]!;
    const zero = scale === 0 && bias === 0 ? middle : Math.round(-bias / scale);
    const unsure = Math.abs(zero) * unsureness(scale, dtype) + unsureness(bias, dtype) + 1e-3 * Math.abs(scale);
    if (!(Math.abs(bias + zero * scale) <= unsure)) {
      throw new FormatError(
        `${where} has the scale ${scale} and the bias ${bias} at ${i}; expected numbers, and a bias that is a whole multiple of ` +
          "its scale, as MLX rounds. Round the original model with genai quantize",
      );
    }
    zeroPoints[i] = Math.max(0, Math.min(largest, zero));
    if (zeroPoints[i] === zero) continue;
    if (codes === given) [codes, scales] = [given.slice(), givenScales.slice()];
    // Codes lie between these distances from zero, in steps of the old scale; the new ones begin at zero.
    const furthest = zero < 0 ? largest - zero : zero;
    const step = furthest / largest;
    scales[i] = scale * step;
    recode(codes, i * groupSize, groupSize, bits, (code) => zeroPoints[i]! + Math.round((code - zero) / step));
  }
  return zeroPoints.every((zero) => zero === middle) ? { codes, scales } : { codes, scales, zeroPoints };
}

/** The biases of groups. */
export function toBiases({ scales, zeroPoints }: Omit<ZeroPointGroups, "codes">, bits: CodeBits): Float32Array {
  return scales.map((scale, i) => -(zeroPoints ? zeroPoints[i]! : 2 ** (bits - 1)) * scale);
}

/** By how much a number may be off: what writing it in its type does to it. */
function unsureness(x: number, dtype: string): number {
  if (dtype === "F16") return Math.max(Math.abs(x) * 2 ** -10, 2 ** -24);
  return Math.abs(x) * (dtype === "BF16" ? 2 ** -7 : 2 ** -23);
}

/** Replaces `count` codes from `first` on. */
function recode(
  words: Uint32Array,
  first: number,
  count: number,
  bits: CodeBits,
  change: (code: number) => number,
): void {
  const mask = 2 ** bits - 1;
  const perWord = 32 / bits;
  for (let i = first; i < first + count; i++) {
    const word = Math.floor(i / perWord);
    const shift = bits * (i % perWord);
    const code = change((words[word]! >>> shift) & mask);
    words[word] = (words[word]! & ~(mask << shift)) | (code << shift);
  }
}
