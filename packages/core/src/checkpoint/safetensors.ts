import { tensor as makeTensor, type Tensor, Tensor as TensorClass } from "@tensorflow/tfjs";
import { FormatError } from "../errors.ts";
import { type ByteChunks, type ByteSourceInput, openByteSource } from "./byte-source.ts";
import {
  dtypeRank,
  dtypeSize,
  fromBfloat16,
  fromFloat16,
  holds,
  type SafetensorsArray,
  type SafetensorsDtype,
  toBfloat16,
  toFloat16,
  viewAs,
} from "./safetensors-dtypes.ts";
import { MAX_HEADER_BYTES, readHeader, type TensorInfo } from "./safetensors-header.ts";

// The safetensors format: 8 bytes with the length of the header (little-endian), the header in JSON, the data.
// https://huggingface.co/docs/safetensors

/** The values of a tensor on the host. */
export interface TensorData {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: SafetensorsArray;
}

/** An open safetensors file (or a set of shards). Data are read tensor by tensor, when asked for. */
export interface SafetensorsFile {
  readonly name: string;
  /** The strings of `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Type, shape and position of every tensor, by name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The values as they are in the file; the memory is the caller's own. */
  read(name: string): Promise<TensorData>;
  /**
   * The values as a tensor: float32 from F64, F32, F16 and BF16, int32 from the integers, bool from BOOL.
   *
   * @throws FormatError if an integer does not fit 32 bits; for F8 and C64, which tensors do not hold.
   */
  tensor(name: string): Promise<Tensor>;
  /** Lets go of the file. */
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks its header.
 *
 * @param input bytes, a Blob or File, a path (Node), an http(s) URL (read by Range requests) or a `ByteSource`.
 * @throws FormatError naming file, tensor, value and expectation where the file breaks a rule of the format.
 */
export async function openSafetensors(input: ByteSourceInput, caller = "openSafetensors"): Promise<SafetensorsFile> {
  const source = await openByteSource(input, caller);
  try {
    const { metadata, tensors, dataBegin } = await readHeader(source, caller);
    const read = async (name: string): Promise<TensorData> => {
      const { dtype, shape, begin, end } = infoOf(tensors, name, source.name);
      const bytes = await source.read(dataBegin + begin, dataBegin + end);
      const owned = source.fresh && bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
      return { dtype, shape, data: viewAs(dtype, owned.buffer as ArrayBuffer) };
    };
    return {
      name: source.name,
      metadata,
      tensors,
      read,
      tensor: async (name) => toTensor(await read(name), `${source.name}: tensor '${name}'`),
      close: async () => source.close?.(),
    };
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

/** The header's entry of a tensor, or an error that lists what there is. */
export function infoOf<T>(tensors: ReadonlyMap<string, T>, name: string, file: string): T {
  const info = tensors.get(name);
  if (info !== undefined) return info;
  const names = [...tensors.keys()];
  const list = names.length > 8 ? `${names.slice(0, 8).join(", ")}, ... (${names.length})` : names.join(", ");
  throw new Error(`read: ${file} has no tensor '${name}'; it has ${list || "none"}`);
}

/** Makes a tensor of values on the host; `what` names them in errors. See `SafetensorsFile.tensor` for the types. */
export function toTensor({ dtype, shape, data }: TensorData, what = "toTensor"): Tensor {
  switch (dtype) {
    case "F64":
      return makeTensor(Float32Array.from(data as Float64Array), shape as number[], "float32");
    case "F32":
      return makeTensor(data as Float32Array, shape as number[], "float32");
    case "F16":
      return makeTensor(fromFloat16(data as Uint16Array), shape as number[], "float32");
    case "BF16":
      return makeTensor(fromBfloat16(data as Uint16Array), shape as number[], "float32");
    case "BOOL": {
      const at = (data as Uint8Array).findIndex((byte) => byte > 1);
      if (at >= 0) throw new FormatError(`${what}: BOOL byte ${data[at]} at ${at}; expected 0 or 1`);
      return makeTensor(data as Uint8Array, shape as number[], "bool");
    }
    case "I32":
      return makeTensor(data as Int32Array, shape as number[], "int32");
    case "I8":
    case "U8":
    case "I16":
    case "U16":
      return makeTensor(Int32Array.from(data as Int16Array), shape as number[], "int32");
    case "U32":
    case "I64":
    case "U64": {
      const out = new Int32Array(data.length);
      for (let i = 0; i < out.length; i++) {
        const value = Number(data[i]);
        if (value !== (value | 0)) {
          throw new FormatError(`${what}: ${dtype} value ${data[i]} at ${i}; expected at most 32 bits with sign`);
        }
        out[i] = value;
      }
      return makeTensor(out, shape as number[], "int32");
    }
    default:
      throw new Error(`${what}: dtype ${dtype} has no tensor type here; read it as bytes with read()`);
  }
}

export interface EncodeSafetensorsOptions {
  /** What float32 tensors are stored as; F16 and BF16 round to the nearest, ties to even. Default F32. */
  readonly dtype?: "F32" | "F16" | "BF16";
}

/** Named tensors, or values on the host, to be written. */
export type SafetensorsEntries = Iterable<readonly [name: string, value: Tensor | TensorData]>;

/**
 * Encodes tensors as one safetensors file, laid out as the reference implementation does: sorted by type, widest first,
 * then by name, after a header padded to 8 bytes.
 *
 * @returns the bytes in chunks. They may share memory with the tensors: write or copy them before disposing of those.
 * @throws if two tensors have one name, or a type has no counterpart.
 */
export async function encodeSafetensors(
  entries: SafetensorsEntries,
  metadata: Readonly<Record<string, string>> = {},
  options: EncodeSafetensorsOptions = {},
): Promise<Uint8Array[]> {
  const planned = planTensors("encodeSafetensors", entries, options);
  return [headerOf(planned, metadata), ...(await Promise.all(planned.map(bytesOf)))];
}

/** A tensor with the type and size that it will have in the file. */
export interface PlannedTensor {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly value: Tensor | TensorData;
}

/** Checks entries and puts them into the order of the file. */
export function planTensors(
  caller: string,
  entries: SafetensorsEntries,
  { dtype: floatDtype = "F32" }: EncodeSafetensorsOptions,
): PlannedTensor[] {
  const planned: PlannedTensor[] = [];
  const names = new Set<string>();
  for (const [name, value] of entries) {
    if (name === "__metadata__") throw new Error(`${caller}: a tensor cannot be named __metadata__`);
    if (names.has(name)) throw new Error(`${caller}: two tensors are named '${name}'; expected names that differ`);
    if (/\p{Surrogate}/u.test(name)) throw new Error(`${caller}: name ${JSON.stringify(name)} is not valid Unicode`);
    names.add(name);
    const dtype = value instanceof TensorClass ? dtypeOf(caller, name, value, floatDtype) : value.dtype;
    const size = value.shape.reduce((a, b) => a * b, 1);
    if (
      !(value instanceof TensorClass) &&
      (!holds(dtype, value.data) || value.data.byteLength !== size * dtypeSize(dtype))
    ) {
      throw new Error(
        `${caller}: '${name}' holds ${value.data.length} elements in a ${value.data.constructor.name}; ` +
          `expected ${size}, ${dtype} of shape [${value.shape}]`,
      );
    }
    planned.push({ name, dtype, shape: value.shape, bytes: size * dtypeSize(dtype), value });
  }
  return planned.sort((a, b) => dtypeRank(b.dtype) - dtypeRank(a.dtype) || compareUtf8(a.name, b.name));
}

/** What `encodeSafetensors` gives, one tensor after another: what an engine gives may be a copy, and all of them would be much. */
export function streamSafetensors(
  caller: string,
  entries: SafetensorsEntries,
  metadata: Readonly<Record<string, string>> = {},
  options: EncodeSafetensorsOptions = {},
): ByteChunks {
  return streamPlanned(planTensors(caller, entries, options), metadata);
}

/** Planned tensors, in their order, as one file. */
export function streamPlanned(
  planned: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>>,
): ByteChunks {
  const header = headerOf(planned, metadata);
  return {
    bytes: planned.reduce((sum, { bytes }) => sum + bytes, header.byteLength),
    async *[Symbol.asyncIterator]() {
      yield header;
      for (const tensor of planned) yield await bytesOf(tensor);
    },
  };
}

function headerOf(planned: readonly PlannedTensor[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const fields: string[] = [];
  if (Object.keys(metadata).length > 0) fields.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let at = 0;
  for (const { name, dtype, shape, bytes } of planned) {
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${JSON.stringify(shape)},"data_offsets":[${at},${at + bytes}]}`,
    );
    at += bytes;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new Error(`encodeSafetensors: header of ${length} bytes; readers accept at most ${MAX_HEADER_BYTES}`);
  }
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}

function dtypeOf(caller: string, name: string, { dtype }: Tensor, floatDtype: SafetensorsDtype): SafetensorsDtype {
  if (dtype === "float32") return floatDtype;
  if (dtype === "int32") return "I32";
  if (dtype === "bool") return "BOOL";
  throw new Error(`${caller}: '${name}' is of dtype ${dtype}; expected float32, int32 or bool`);
}

async function bytesOf({ value, dtype, name, bytes }: PlannedTensor): Promise<Uint8Array> {
  let data: SafetensorsArray = value instanceof TensorClass ? await value.data() : value.data;
  if (value instanceof TensorClass) {
    if (dtype === "F16") data = toFloat16(data as Float32Array);
    else if (dtype === "BF16") data = toBfloat16(data as Float32Array);
    else if (dtype === "BOOL") data = Uint8Array.from(data as Uint8Array, (x) => (x ? 1 : 0));
  }
  if (data.byteLength !== bytes) {
    throw new Error(`encodeSafetensors: '${name}' gave ${data.byteLength} bytes of values; expected ${bytes}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Compares as UTF-8 bytes do, which is by code point; `<` on strings compares UTF-16 units. */
function compareUtf8(a: string, b: string): number {
  const x = [...a];
  const y = [...b];
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] !== y[i]) return x[i]!.codePointAt(0)! - y[i]!.codePointAt(0)!;
  }
  return x.length - y.length;
}
