import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { concatBytes } from "../../src/checkpoint/byte-source.ts";
import { encodeSafetensors, openSafetensors, type TensorData } from "../../src/checkpoint/safetensors.ts";
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "../../src/checkpoint/safetensors-dtypes.ts";
import { FormatError } from "../../src/errors.ts";

/** A file with the given header text and that many bytes of data, built by hand from the published description. */
function handMade(header: string, dataBytes: number, length = header.length): Uint8Array {
  const out = new Uint8Array(8 + header.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(new TextEncoder().encode(header), 8);
  for (let i = 0; i < dataBytes; i++) out[8 + header.length + i] = i;
  return out;
}

const floats = (bits: number[]) => new Float32Array(new Uint32Array(bits).buffer);
const bitsOf = (values: Float32Array) => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

beforeAll(async () => {
  await tf.setBackend("cpu");
});

describe("reading", () => {
  test("reads a file built by hand from the description of the format", async () => {
    const file = await openSafetensors(
      handMade('{"__metadata__":{"a":"b"},"x":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]}}  ', 6),
    );
    expect(file.metadata).toEqual({ a: "b" });
    expect([...file.tensors.keys()]).toEqual(["x"]);
    expect(await file.read("x")).toEqual({ dtype: "U8", shape: [2, 3], data: new Uint8Array([0, 1, 2, 3, 4, 5]) });
    await expect(file.read("y")).rejects.toThrow("no tensor 'y'; it has x");
  });

  test("gives every type its typed array, and unaligned data too", async () => {
    const cases: [string, number, unknown][] = [
      ["F64", 8, Float64Array],
      ["F32", 4, Float32Array],
      ["F16", 2, Uint16Array],
      ["BF16", 2, Uint16Array],
      ["I64", 8, BigInt64Array],
      ["I32", 4, Int32Array],
      ["I16", 2, Int16Array],
      ["I8", 1, Int8Array],
      ["U64", 8, BigUint64Array],
      ["U32", 4, Uint32Array],
      ["U16", 2, Uint16Array],
      ["U8", 1, Uint8Array],
      ["BOOL", 1, Uint8Array],
      ["F8_E4M3", 1, Uint8Array],
      ["F8_E5M2", 1, Uint8Array],
      ["C64", 8, Uint8Array],
    ];
    for (const [dtype, size, Constructor] of cases) {
      const pad = '{"p":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},';
      const bytes = handMade(
        `${pad}"x":{"dtype":"${dtype}","shape":[2],"data_offsets":[1,${1 + 2 * size}]}}`,
        1 + 2 * size,
      );
      const { data } = await (await openSafetensors(bytes)).read("x");
      expect(data).toBeInstanceOf(Constructor);
      expect(data.byteLength).toBe(2 * size);
      expect([...new Uint8Array(data.buffer)]).toEqual(Array.from({ length: 2 * size }, (_, i) => i + 1));
    }
  });

  test("refuses every kind of broken header with a FormatError that says what is wrong", async () => {
    const x = (fields: string) => `{"x":{${fields}}}`;
    const cases: [Uint8Array, RegExp][] = [
      [new Uint8Array(0), /file of 0 bytes; expected at least 8/],
      [new Uint8Array(7), /file of 7 bytes; expected at least 8/],
      [handMade("{}", 0, 3), /header of 3 bytes in a file of 10 bytes/],
      [handMade("{}", 0, 100_000_001), /header length 100000001; expected at most 100000000/],
      [new Uint8Array(16).fill(255), /header length 18446744073709551615/],
      [handMade("", 0), /header starts with ""; expected "{"/],
      [handMade(" {}", 0), /header starts with " "/],
      [handMade("[]", 0), /header starts with "\["/],
      [handMade("{]", 0), /not valid JSON/],
      [handMade("{}x", 0), /not valid JSON/],
      [concatBytes([handMade("{", 0, 2), new Uint8Array([0xff])]), /not valid UTF-8/],
      [handMade("{}", 4), /file of 14 bytes has bytes that no tensor claims; expected 10/],
      [handMade('{"__metadata__":{"a":1}}', 0), /__metadata__ 'a' is 1; expected a string/],
      [handMade('{"__metadata__":[]}', 0), /__metadata__ is \[\]/],
      [handMade('{"x":3}', 0), /tensor 'x': is 3/],
      [
        handMade(x('"dtype":"F31","shape":[1],"data_offsets":[0,4]'), 4),
        /'x': dtype "F31" is unknown; expected one of BOOL/,
      ],
      [handMade(x('"dtype":"constructor","shape":[1],"data_offsets":[0,4]'), 4), /dtype "constructor" is unknown/],
      [handMade(x('"dtype":"F32","shape":[-1],"data_offsets":[0,4]'), 4), /'x': shape \[-1\]; expected whole numbers/],
      [handMade(x('"dtype":"F32","shape":[1.5],"data_offsets":[0,4]'), 4), /shape \[1.5\]/],
      [handMade(x('"dtype":"F32","shape":["1"],"data_offsets":[0,4]'), 4), /shape \["1"\]/],
      [handMade(x('"dtype":"F32","shape":{},"data_offsets":[0,4]'), 4), /shape \{\}/],
      [handMade(x('"dtype":"F32","data_offsets":[0,4]'), 4), /shape missing/],
      [handMade(x('"dtype":"F32","shape":[1e300],"data_offsets":[0,4]'), 4), /shape \[1e\+300\]/],
      [handMade(x('"dtype":"F32","shape":[9007199254740991,3,0],"data_offsets":[0,0]'), 0), /overflows/],
      [handMade(x('"dtype":"F32","shape":[2147483648,2147483648],"data_offsets":[0,4]'), 4), /overflows/],
      [
        handMade(x('"dtype":"F32","shape":[1],"data_offsets":[0,3]'), 3),
        /hold 3 bytes; expected 4, F32 of shape \[1\]/,
      ],
      [handMade(x('"dtype":"F32","shape":[1],"data_offsets":[0]'), 4), /data_offsets \[0\]/],
      [handMade(x('"dtype":"F32","shape":[1],"data_offsets":[-4,0]'), 4), /data_offsets \[-4,0\]/],
      [handMade(x('"dtype":"F32","shape":[1],"data_offsets":[4,0]'), 4), /run backwards/],
      [handMade(x('"dtype":"F32","shape":[1],"data_offsets":[0,4]'), 2), /cut short; expected/],
      [handMade(x('"dtype":"F32","shape":[1],"data_offsets":[4,8]'), 8), /leave a gap; expected to start at 0/],
      [handMade(x('"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1'), 1), /has the key 'more'/],
      [
        handMade(
          '{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
          6,
        ),
        /'y': data_offsets \[2, 6\] overlap/,
      ],
      [
        handMade(
          '{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0078":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
          1,
        ),
        /the key 'x' twice/,
      ],
      [handMade('{"__metadata__":{"a":"}\\"","a":"2"}}', 0), /the key 'a' twice/],
    ];
    for (const [bytes, message] of cases) {
      const error = await openSafetensors(new File([bytes as BlobPart], "bad.safetensors")).catch((e) => e);
      expect(error, String(message)).toBeInstanceOf(FormatError);
      expect(error.message).toMatch(message);
      expect(error.message).toMatch(/^openSafetensors: bad\.safetensors: /);
    }
  });

  test("converts to tensors, and refuses integers that do not fit and bytes that are no booleans", async () => {
    const entries: [string, TensorData][] = [
      ["f64", { dtype: "F64", shape: [2], data: new Float64Array([1.5, Math.PI]) }],
      ["f16", { dtype: "F16", shape: [1], data: new Uint16Array([0x3e00]) }],
      ["bf16", { dtype: "BF16", shape: [1], data: new Uint16Array([0x3fc0]) }],
      ["i64", { dtype: "I64", shape: [], data: new BigInt64Array([-5n]) }],
      ["u8", { dtype: "U8", shape: [2], data: new Uint8Array([0, 255]) }],
      ["bool", { dtype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) }],
      ["big", { dtype: "I64", shape: [1], data: new BigInt64Array([2n ** 31n]) }],
      ["bigU", { dtype: "U32", shape: [1], data: new Uint32Array([2 ** 31]) }],
      ["odd", { dtype: "BOOL", shape: [1], data: new Uint8Array([2]) }],
      ["f8", { dtype: "F8_E4M3", shape: [1], data: new Uint8Array([2]) }],
    ];
    const file = await openSafetensors(concatBytes(await encodeSafetensors(entries)));
    const read = async (name: string) => {
      const tensor = await file.tensor(name);
      const out = [tensor.dtype, tensor.shape, [...(await tensor.data())]];
      tensor.dispose();
      return out;
    };
    expect(await read("f64")).toEqual(["float32", [2], [1.5, Math.fround(Math.PI)]]);
    expect(await read("f16")).toEqual(["float32", [1], [1.5]]);
    expect(await read("bf16")).toEqual(["float32", [1], [1.5]]);
    expect(await read("i64")).toEqual(["int32", [], [-5]]);
    expect(await read("u8")).toEqual(["int32", [2], [0, 255]]);
    expect(await read("bool")).toEqual(["bool", [2], [1, 0]]);
    await expect(file.tensor("big")).rejects.toThrow(/tensor 'big': I64 value 2147483648 at 0/);
    await expect(file.tensor("bigU")).rejects.toThrow(FormatError);
    await expect(file.tensor("odd")).rejects.toThrow(/BOOL byte 2 at 0; expected 0 or 1/);
    await expect(file.tensor("f8")).rejects.toThrow(/read it as bytes/);
  });
});

describe("sources", () => {
  let dir: string;
  let bytes: Uint8Array;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "genai-safetensors-"));
    const big: TensorData = { dtype: "F32", shape: [40_000], data: Float32Array.from({ length: 40_000 }, (_, i) => i) };
    const small: TensorData = { dtype: "I32", shape: [2], data: new Int32Array([7, 8]) };
    bytes = concatBytes(
      await encodeSafetensors([
        ["big", big],
        ["small", small],
      ]),
    );
    writeFileSync(join(dir, "m.safetensors"), bytes);
  });

  test("reads 64-bit integers at an odd place in a Buffer, whose slices share memory", async () => {
    const wide: TensorData = { dtype: "I64", shape: [2], data: new BigInt64Array([3n, -4n]) };
    const encoded = concatBytes(await encodeSafetensors([["wide", wide]]));
    const buffer = Buffer.concat([Buffer.of(0), encoded]).subarray(1);
    const file = await openSafetensors(buffer);
    expect((await file.read("wide")).data).toEqual(wide.data);
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test("reads paths, file URLs, blobs and buffers alike", async () => {
    const path = join(dir, "m.safetensors");
    const buffer = bytes.buffer as ArrayBuffer;
    for (const input of [path, new URL(`file://${path}`), new Blob([buffer]), buffer, bytes]) {
      const file = await openSafetensors(input);
      expect((await file.read("small")).data).toEqual(new Int32Array([7, 8]));
      expect((await file.read("big")).data[39_999]).toBe(39_999);
      await file.close();
    }
    await expect(openSafetensors(join(dir, "none"))).rejects.toThrow(/openSafetensors: cannot open .*none: ENOENT/);
    await expect(openSafetensors(new URL("ftp://x/y"))).rejects.toThrow(/protocol ftp:/);
  });

  test("values that were read do not share memory with the bytes given", async () => {
    const { data } = await (await openSafetensors(bytes)).read("small");
    expect(data.buffer.byteLength).toBe(8);
  });

  test("fetches only the ranges it needs, survives servers without ranges, and notices a changed file", async () => {
    let mode: "ranges" | "whole" | "changed" = "ranges";
    let sent = 0;
    const server = createServer((request, response) => {
      const range = request.headers.range?.match(/^bytes=(\d+)-(\d+)$/);
      if (!range || mode === "whole" || (mode === "changed" && request.headers["if-range"])) {
        response.writeHead(200, { etag: '"1"' }).end(bytes);
        return;
      }
      const body = bytes.subarray(Number(range[1]), Number(range[2]) + 1);
      sent += body.length;
      const last = Number(range[1]) + body.length - 1;
      response.writeHead(206, { etag: '"1"', "content-range": `bytes ${range[1]}-${last}/${bytes.length}` }).end(body);
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as { port: number };
    const url = `http://127.0.0.1:${port}/m.safetensors`;
    try {
      const file = await openSafetensors(url);
      expect((await file.read("small")).data).toEqual(new Int32Array([7, 8]));
      expect(sent).toBe(64 * 1024 + 8);
      expect((await file.read("big")).data[39_999]).toBe(39_999);
      mode = "changed";
      await expect(file.read("small")).rejects.toThrow(/the file may have changed/);
      mode = "whole";
      expect((await (await openSafetensors(new URL(url))).read("small")).data).toEqual(new Int32Array([7, 8]));
    } finally {
      server.closeAllConnections();
      server.close();
    }
    await expect(openSafetensors(url)).rejects.toThrow(/cannot fetch/);
  });
});

describe("writing", () => {
  test("keeps every bit of float32, int32 and bool tensors", async () => {
    const special = floats([0x7fc00001, 0xffc12345, 0x7f800001, 0x80000000, 0, 1, 0x7f800000, 0xff800000, 0x7f7fffff]);
    const before = tf.memory().numTensors;
    const tensors = {
      f: tf.tensor1d(special),
      i: tf.tensor1d([-(2 ** 31), 2 ** 31 - 1], "int32"),
      b: tf.tensor1d([true, false], "bool"),
    };
    const bytes = concatBytes(await encodeSafetensors(Object.entries(tensors), { who: "me" }));
    const file = await openSafetensors(bytes);
    expect(file.metadata).toEqual({ who: "me" });
    expect(bitsOf((await file.read("f")).data as Float32Array)).toEqual(bitsOf(special));
    const [f, i, b] = [await file.tensor("f"), await file.tensor("i"), await file.tensor("b")];
    expect(bitsOf((await f.data()) as Float32Array)).toEqual(bitsOf(special));
    expect([...(await i.data())]).toEqual([-(2 ** 31), 2 ** 31 - 1]);
    expect([b.dtype, ...(await b.data())]).toEqual(["bool", 1, 0]);
    tf.dispose([tensors, f, i, b]);
    expect(tf.memory().numTensors).toBe(before);
  });

  test("lays out the file as the reference implementation does", async () => {
    // Written by safetensors 0.8.0 (Rust) from the tensors below.
    const reference = readFileSync(new URL("./reference.safetensors", import.meta.url));
    const entries: [string, TensorData][] = [
      ["b", { dtype: "F16", shape: [2], data: new Uint16Array([0x3c00, 0xc000]) }],
      ["a", { dtype: "F32", shape: [1], data: new Float32Array([1.5]) }],
      ["é", { dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 3]) }],
      ["z", { dtype: "I64", shape: [1], data: new BigInt64Array([-7n]) }],
      ["c", { dtype: "F32", shape: [], data: new Float32Array([-2]) }],
      ["d", { dtype: "F64", shape: [1], data: new Float64Array([0.1]) }],
      ["e", { dtype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) }],
      ["f", { dtype: "I32", shape: [1, 0], data: new Int32Array(0) }],
      ["g", { dtype: "U64", shape: [1], data: new BigUint64Array([9n]) }],
    ];
    const ours = concatBytes(await encodeSafetensors(entries, { format: "pt" }));
    expect(Buffer.from(ours).equals(reference)).toBe(true);
  });

  test("round trips empty files, scalars, empty tensors and awkward names", async () => {
    const empty = concatBytes(await encodeSafetensors([]));
    expect(empty.length).toBe(16);
    expect((await openSafetensors(empty)).tensors.size).toBe(0);
    const names = ["", "10", "9", "__proto__", 'quo"te\\', "line\nbreak", "\u{1f600}", "\uffff", "constructor"];
    const value: TensorData = { dtype: "F32", shape: [0, 5], data: new Float32Array(0) };
    const file = await openSafetensors(
      concatBytes(await encodeSafetensors(names.map((name) => [name, value] as const))),
    );
    expect(new Set(file.tensors.keys())).toEqual(new Set(names));
    expect((await file.read("__proto__")).shape).toEqual([0, 5]);
  });

  test("refuses what cannot be written", async () => {
    const t = tf.scalar(1);
    const complex = tf.complex([1], [2]);
    const text = tf.tensor(["a"]);
    await expect(
      encodeSafetensors([
        ["a", t],
        ["a", t],
      ]),
    ).rejects.toThrow("two tensors are named 'a'");
    await expect(encodeSafetensors([["__metadata__", t]])).rejects.toThrow("cannot be named __metadata__");
    await expect(encodeSafetensors([["c", complex]])).rejects.toThrow("'c' is of dtype complex64; expected float32");
    await expect(encodeSafetensors([["s", text]])).rejects.toThrow("'s' is of dtype string");
    const bad: TensorData = { dtype: "F32", shape: [3], data: new Float32Array(2) };
    await expect(encodeSafetensors([["x", bad]])).rejects.toThrow("'x' holds 2 elements in a Float32Array; expected 3");
    tf.dispose([t, complex, text]);
  });

  test("rounds to half and bfloat16 to the nearest, ties to even", () => {
    const half = (x: number) => toFloat16(Float32Array.of(x))[0]!;
    const expected: [number, number][] = [
      [0, 0],
      [-0, 0x8000],
      [1, 0x3c00],
      [-2, 0xc000],
      [65504, 0x7bff],
      [65519.996, 0x7bff],
      [65520, 0x7c00],
      [-1e30, 0xfc00],
      [Infinity, 0x7c00],
      [1 + 2 ** -11, 0x3c00], // tie, to even: down
      [1 + 3 * 2 ** -11, 0x3c02], // tie, to even: up
      [1 + 2 ** -11 + 2 ** -20, 0x3c01],
      [2 ** -14, 0x0400],
      [2 ** -14 - 2 ** -26, 0x0400], // rounds up to the smallest normal
      [2 ** -24, 1],
      [2 ** -25, 0], // tie, to even
      [1.5 * 2 ** -24, 2],
      [2.5 * 2 ** -24, 2],
      [1.0001 * 2 ** -25, 1],
      [1e-45, 0],
    ];
    for (const [x, bits] of expected) expect(half(x), String(x)).toBe(bits);
    expect(half(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
    expect(toFloat16(floats([0x7f800001, 0xff800001])).every((h) => (h & 0x7fff) > 0x7c00)).toBe(true);
    const brain = (x: number) => toBfloat16(Float32Array.of(x))[0]!;
    expect(brain(1)).toBe(0x3f80);
    expect(brain(1 + 2 ** -8)).toBe(0x3f80);
    expect(brain(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(brain(1 + 2 ** -8 + 2 ** -16)).toBe(0x3f81);
    expect(brain(3.4e38)).toBe(0x7f80);
    expect(toBfloat16(floats([0x7f800001, 0xffffffff])).every((h) => (h & 0x7fff) > 0x7f80)).toBe(true);
  });

  test("every half and bfloat16 survives the way to float32 and back", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const isNaN16 = (bits: number, infinity: number) => (bits & 0x7fff) > infinity;
    const halves = toFloat16(fromFloat16(all));
    const brains = toBfloat16(fromBfloat16(all));
    expect([...all].filter((i) => !isNaN16(i, 0x7c00) && halves[i] !== i)).toEqual([]);
    expect([...all].filter((i) => !isNaN16(i, 0x7f80) && brains[i] !== i)).toEqual([]);
    expect(Number.isNaN(fromFloat16(Uint16Array.of(0x7e00))[0])).toBe(true);
  });

  test("stores floats as F16 or BF16 on request and leaves other types alone", async () => {
    const tensors = { w: tf.tensor1d([1.5, -2]), ids: tf.tensor1d([1], "int32") };
    for (const dtype of ["F16", "BF16"] as const) {
      const file = await openSafetensors(concatBytes(await encodeSafetensors(Object.entries(tensors), {}, { dtype })));
      expect([file.tensors.get("w")!.dtype, file.tensors.get("ids")!.dtype]).toEqual([dtype, "I32"]);
      const w = await file.tensor("w");
      expect([...(await w.data())]).toEqual([1.5, -2]);
      w.dispose();
    }
    tf.dispose(tensors);
  });
});
