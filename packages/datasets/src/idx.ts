import { FormatError } from "@genai/core";

// IDX: two zero bytes, a type code, the number of dimensions, one big-endian uint32 per dimension, then the values,
// big-endian and row-major (the format of the MNIST pages).

const types = {
  8: { dtype: "uint8", bytes: 1 },
  9: { dtype: "int8", bytes: 1 },
  11: { dtype: "int16", bytes: 2 },
  12: { dtype: "int32", bytes: 4 },
  13: { dtype: "float32", bytes: 4 },
  14: { dtype: "float64", bytes: 8 },
} as const;

interface IdxArrays {
  readonly uint8: Uint8Array;
  readonly int8: Int8Array;
  readonly int16: Int16Array;
  readonly int32: Int32Array;
  readonly float32: Float32Array;
  readonly float64: Float64Array;
}

export type IdxDtype = keyof IdxArrays;

/** The content of an IDX file. */
export interface IdxArray<D extends IdxDtype = IdxDtype> {
  readonly dtype: D;
  readonly shape: readonly number[];
  /** Row-major values. Bytes are a view of the input, wider types a copy in the machine's byte order. */
  readonly data: IdxArrays[D];
}

export interface ReadIdxOptions<D extends IdxDtype> {
  /** What the bytes are called in errors. */
  readonly name?: string;
  readonly dtype?: D;
  /** Expected shape; -1 stands for any size. */
  readonly shape?: readonly number[];
}

/**
 * Reads an IDX file strictly.
 *
 * @throws FormatError naming the file, the value and what was expected: wrong magic bytes, unknown type code, truncated
 * header or data, bytes after the data, a size beyond 2^53, or a type or shape other than the one asked for.
 */
export function readIdx<D extends IdxDtype = IdxDtype>(
  bytes: Uint8Array,
  { name = "IDX data", dtype, shape: expected }: ReadIdxOptions<D> = {},
): IdxArray<D> {
  const fail = (what: string): never => {
    throw new FormatError(`readIdx: ${name}: ${what}`);
  };
  if (bytes.length < 4) fail(`${bytes.length} bytes; expected a header of at least 4`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0) !== 0) {
    fail(`magic number 0x${view.getUint32(0).toString(16).padStart(8, "0")}; expected two zero bytes first`);
  }
  const code = bytes[2]!;
  const type = (types as Record<number, (typeof types)[keyof typeof types] | undefined>)[code];
  if (type === undefined) {
    return fail(`type code 0x${code.toString(16).padStart(2, "0")}; expected one of 08, 09, 0b, 0c, 0d, 0e`);
  }
  if (dtype !== undefined && type.dtype !== dtype) fail(`values of type ${type.dtype}; expected ${dtype}`);
  const rank = bytes[3]!;
  if (rank === 0) fail("0 dimensions; expected at least 1");
  const start = 4 + 4 * rank;
  if (bytes.length < start) fail(`${bytes.length} bytes; expected a header of ${start} for ${rank} dimensions`);
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  if (expected !== undefined) {
    const fits = expected.length === rank && expected.every((size, i) => size === -1 || size === shape[i]);
    if (!fits) fail(`shape [${shape}]; expected [${expected.map((n) => (n === -1 ? "any" : n))}]`);
  }
  const size = shape.includes(0) ? 0 : shape.reduce((a, b) => a * b, 1);
  if (!Number.isSafeInteger(size * type.bytes)) fail(`shape [${shape}]; expected a size below 2^53 bytes`);
  const got = bytes.length - start;
  if (got !== size * type.bytes) {
    fail(
      `${got} bytes of data${got < size * type.bytes ? " (truncated)" : " (bytes after the end)"}; expected ${size * type.bytes} for ${type.dtype} of shape [${shape}]`,
    );
  }
  return { dtype: type.dtype, shape, data: values(view, start, size, type.dtype) } as unknown as IdxArray<D>;
}

function values(view: DataView, start: number, size: number, dtype: IdxDtype): IdxArrays[IdxDtype] {
  const each = <A extends { [i: number]: number }>(out: A, read: (at: number) => number, width: number): A => {
    for (let i = 0; i < size; i++) out[i] = read(start + i * width);
    return out;
  };
  switch (dtype) {
    case "uint8":
      return new Uint8Array(view.buffer, view.byteOffset + start, size);
    case "int8":
      return new Int8Array(view.buffer, view.byteOffset + start, size);
    case "int16":
      return each(new Int16Array(size), (at) => view.getInt16(at), 2);
    case "int32":
      return each(new Int32Array(size), (at) => view.getInt32(at), 4);
    case "float32":
      return each(new Float32Array(size), (at) => view.getFloat32(at), 4);
    case "float64":
      return each(new Float64Array(size), (at) => view.getFloat64(at), 8);
  }
}
