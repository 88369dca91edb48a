// Exponential, logarithm and digamma from additions, multiplications and divisions alone, which IEEE 754 rounds alike
// everywhere. Math.exp and Math.log may differ in the last bit between JavaScript engines, and a vocabulary must not.

const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;
const halfBits = new DataView(new ArrayBuffer(8));

/** The natural logarithm of x > 0 (after fdlibm's e_log.c; error below 1 unit in the last place). */
export function exactLog(x: number): number {
  if (x === 0) return Number.NEGATIVE_INFINITY;
  if (!(x > 0) || x === Number.POSITIVE_INFINITY) return x > 0 ? x : Number.NaN;
  let exponent = 0;
  let normal = x;
  if (x < 2.2250738585072014e-308) {
    normal = x * 18014398509481984;
    exponent = -54;
  }
  halfBits.setFloat64(0, normal);
  const high = halfBits.getUint32(0);
  exponent += (high >>> 20) - 1023;
  halfBits.setUint32(0, (high & 0xfffff) | 0x3ff00000);
  let mantissa = halfBits.getFloat64(0);
  if (mantissa > Math.SQRT2) {
    mantissa *= 0.5;
    exponent++;
  }
  const f = mantissa - 1;
  const s = f / (2 + f);
  const z = s * s;
  const series =
    z *
    (0.6666666666666735 +
      z *
        (0.3999999999940942 +
          z *
            (0.2857142874366239 +
              z *
                (0.22222198432149784 +
                  z * (0.1818357216161805 + z * (0.15313837699209373 + z * 0.14798198605116586))))));
  const halfSquare = 0.5 * f * f;
  return exponent * ln2High - (halfSquare - (s * (halfSquare + series) + exponent * ln2Low) - f);
}

/** e^x (after fdlibm's e_exp.c). */
export function exactExp(x: number): number {
  if (x > 709.782712893384) return Number.POSITIVE_INFINITY;
  if (x < -745.1332191019411) return 0;
  const k = Math.round(x * Math.LOG2E);
  const high = x - k * ln2High;
  const low = k * ln2Low;
  const r = high - low;
  const t = r * r;
  const c =
    r -
    t *
      (0.16666666666666602 +
        t *
          (-0.0027777777777015593 +
            t * (6.613756321437934e-5 + t * (-1.6533902205465252e-6 + t * 4.1381367970572385e-8))));
  const y = 1 - (low - (r * c) / (2 - c) - high);
  // In two factors: 2^k itself may be out of range.
  const half = k >> 1;
  return y * powerOfTwo(half) * powerOfTwo(k - half);
}

/** 2^k for -1022 <= k <= 1023, exactly. */
export function powerOfTwo(k: number): number {
  halfBits.setUint32(0, (k + 1023) << 20);
  halfBits.setUint32(4, 0);
  return halfBits.getFloat64(0);
}

/** The derivative of ln Gamma at x > 0. */
export function digamma(x: number): number {
  let result = 0;
  let at = x;
  for (; at < 7; at++) result -= 1 / at;
  at -= 0.5;
  const r = 1 / (at * at);
  return result + exactLog(at) + r * (1 / 24 - r * (7 / 960 - r * (31 / 8064 - r * (127 / 30720))));
}
