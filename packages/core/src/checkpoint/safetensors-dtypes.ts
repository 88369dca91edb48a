// The element types of safetensors and their conversion from and to 32-bit floats. Data are little-endian, as are all
// machines that run JavaScript engines today, so typed arrays view them directly.

// In the order of the reference implementation's enum, which is the order that its writer sorts tensors by.
const SIZES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

/** An element type, by its name in the file. */
export type SafetensorsDtype = keyof typeof SIZES;

/** The typed array that holds elements of a type: raw bits as `Uint16Array` for F16 and BF16, bytes for F8, C64 and BOOL. */
export type SafetensorsArray =
  | Uint8Array
  | Int8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

export const DTYPES = Object.keys(SIZES) as SafetensorsDtype[];

export function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === "string" && Object.hasOwn(SIZES, value);
}

/** Bytes of one element. */
export function dtypeSize(dtype: SafetensorsDtype): number {
  return SIZES[dtype];
}

/** The place of a type in the reference implementation's order. */
export function dtypeRank(dtype: SafetensorsDtype): number {
  return DTYPES.indexOf(dtype);
}

const CONSTRUCTORS = {
  I8: Int8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
} as const;

/** The typed array over a buffer that a type's elements fill. */
export function viewAs(dtype: SafetensorsDtype, buffer: ArrayBuffer): SafetensorsArray {
  const Constructor = dtype in CONSTRUCTORS ? CONSTRUCTORS[dtype as keyof typeof CONSTRUCTORS] : Uint8Array;
  return new Constructor(buffer);
}

/** Whether an array is of the kind that holds elements of a type. */
export function holds(dtype: SafetensorsDtype, data: SafetensorsArray): boolean {
  const Constructor = dtype in CONSTRUCTORS ? CONSTRUCTORS[dtype as keyof typeof CONSTRUCTORS] : Uint8Array;
  return data instanceof Constructor;
}

/** Float32 to bfloat16 bits, rounded to the nearest, ties to even; NaN stays NaN, beyond the range is infinity. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const x = bits[i]!;
    const nan = (x & 0x7fffffff) > 0x7f800000;
    out[i] = nan ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** Float32 to IEEE half bits, rounded to the nearest, ties to even; NaN stays NaN, beyond the range is infinity. */
export function toFloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const sign = (bits[i]! >>> 16) & 0x8000;
    const x = bits[i]! & 0x7fffffff;
    let half: number;
    if (x > 0x7f800000) half = 0x7e00 | ((x >>> 13) & 0x3ff);
    else if (x >= 0x477ff000)
      half = 0x7c00; // 65520 and more round to infinity
    else if (x >= 0x38800000) half = (x - 0x38000000 + 0xfff + ((x >>> 13) & 1)) >>> 13;
    else {
      // Below 2^-14 a half is a multiple of 2^-24; the product is exact in double precision.
      const scaled = Math.abs(values[i]!) * 2 ** 24;
      half = Math.floor(scaled);
      const rest = scaled - half;
      if (rest > 0.5 || (rest === 0.5 && half % 2 === 1)) half += 1;
    }
    out[i] = sign | half;
  }
  return out;
}

/** Bfloat16 bits to float32, exactly. */
export function fromBfloat16(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16;
  return new Float32Array(out.buffer);
}

/** IEEE half bits to float32, exactly. */
export function fromFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const outBits = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i]!;
    const exponent = (h >>> 10) & 31;
    const mantissa = h & 0x3ff;
    if (exponent === 0) out[i] = mantissa * 2 ** -24;
    else outBits[i] = ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
    outBits[i]! |= (h & 0x8000) << 16;
  }
  return out;
}
