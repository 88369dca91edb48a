import { FormatError } from "../errors.ts";
import type { ByteSource } from "./byte-source.ts";
import { DTYPES, dtypeSize, isDtype, type SafetensorsDtype } from "./safetensors-dtypes.ts";

/** The reference implementation refuses longer headers, and so do we: a lying length must not make us allocate. */
export const MAX_HEADER_BYTES = 100_000_000;

/** What the header says of one tensor. */
export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Position of the first byte, counted from the end of the header. */
  readonly begin: number;
  /** Position after the last byte. */
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Where the data begin in the file. */
  readonly dataBegin: number;
}

/**
 * Reads and checks the header of a safetensors file: every rule of the format, so that whatever is read later lies
 * where it should.
 *
 * @throws FormatError naming the file, the tensor, the value and what was expected.
 */
export async function readHeader(source: ByteSource, caller: string): Promise<SafetensorsHeader> {
  const fail = (what: string): never => {
    throw new FormatError(`${caller}: ${source.name}: ${what}`);
  };
  if (source.size < 8) fail(`file of ${source.size} bytes; expected at least 8, the length of the header`);
  const lengthBytes = await source.read(0, 8);
  const length = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    fail(
      `header length ${length}; expected at most ${MAX_HEADER_BYTES}: this is no safetensors file, or a damaged one`,
    );
  }
  const dataBegin = 8 + Number(length);
  if (dataBegin > source.size) {
    fail(
      `header of ${length} bytes in a file of ${source.size} bytes; expected a longer file: it is cut short or damaged`,
    );
  }
  const text = decodeUtf8(await source.read(8, dataBegin)) ?? fail("header is not valid UTF-8; expected JSON");
  if (!text.startsWith("{")) fail(`header starts with ${JSON.stringify(text.slice(0, 1))}; expected "{"`);
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fail(`header is not valid JSON: ${(error as Error).message}`);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) fail(`header has the key '${duplicate}' twice; expected every name once`);

  let metadata: Record<string, string> = {};
  const entries: [string, TensorInfo][] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = parseMetadata(value, fail);
    else entries.push([name, parseTensor(name, value, fail)]);
  }
  entries.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const [name, { begin, end }] of entries) {
    if (begin < at) fail(`tensor '${name}': data_offsets [${begin}, ${end}] overlap the tensor before; expected ${at}`);
    if (begin > at) fail(`tensor '${name}': data_offsets [${begin}, ${end}] leave a gap; expected to start at ${at}`);
    at = end;
  }
  if (dataBegin + at !== source.size) {
    const what = dataBegin + at > source.size ? "is cut short" : "has bytes that no tensor claims";
    fail(`file of ${source.size} bytes ${what}; expected ${dataBegin + at} (header ${dataBegin} + data ${at})`);
  }
  return { metadata, tensors: new Map(entries), dataBegin };
}

type Fail = (what: string) => never;

function parseMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isRecord(value)) return fail(`__metadata__ is ${show(value)}; expected a record of strings`);
  for (const [key, item] of Object.entries(value)) {
    if (typeof item !== "string") fail(`__metadata__ '${key}' is ${show(item)}; expected a string`);
  }
  return value as Record<string, string>;
}

function parseTensor(name: string, value: unknown, fail: Fail): TensorInfo {
  const bad = (what: string): never => fail(`tensor '${name}': ${what}`);
  if (!isRecord(value)) return bad(`is ${show(value)}; expected a record of dtype, shape and data_offsets`);
  for (const key of Object.keys(value)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") {
      bad(`has the key '${key}'; expected dtype, shape and data_offsets only`);
    }
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) return bad(`dtype ${show(dtype)} is unknown; expected one of ${DTYPES.join(", ")}`);
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    return bad(`shape ${show(shape)}; expected whole numbers, none negative`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return bad(`data_offsets ${show(offsets)}; expected two whole numbers, none negative`);
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin) bad(`data_offsets [${begin}, ${end}] run backwards; expected begin <= end`);
  let bytes = dtypeSize(dtype);
  for (const n of shape as number[]) {
    bytes *= n;
    if (bytes > Number.MAX_SAFE_INTEGER) bad(`shape [${shape}] of ${dtype} overflows; expected below 2^53 bytes`);
  }
  if (end - begin !== bytes) {
    bad(`data_offsets [${begin}, ${end}] hold ${end - begin} bytes; expected ${bytes}, ${dtype} of shape [${shape}]`);
  }
  return { dtype, shape: shape as number[], begin, end };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The first key that stands twice in one record of a valid JSON text. `JSON.parse` keeps the last one silently, which
 * would let two readers see two different files.
 */
function findDuplicateKey(text: string): string | undefined {
  const seen: (Set<string> | undefined)[] = []; // one entry per open bracket; undefined for arrays
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "{") seen.push(new Set());
    else if (c === "[") seen.push(undefined);
    else if (c === "}" || c === "]") seen.pop();
    else if (c === '"') {
      const start = i;
      for (i += 1; text[i] !== '"'; i++) if (text[i] === "\\") i += 1;
      let next = i + 1;
      while (text[next] === " " || text[next] === "\n" || text[next] === "\t" || text[next] === "\r") next += 1;
      if (text[next] !== ":") continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = seen.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
