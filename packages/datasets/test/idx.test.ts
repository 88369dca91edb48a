import { FormatError, Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { readIdx } from "../src/index.ts";

/** The bytes of an IDX file. */
function idx(code: number, shape: readonly number[], data: ArrayLike<number>): Uint8Array {
  const out = new Uint8Array(4 + 4 * shape.length + data.length);
  out.set([0, 0, code, shape.length]);
  for (const [i, size] of shape.entries()) new DataView(out.buffer).setUint32(4 + 4 * i, size);
  out.set(data, 4 + 4 * shape.length);
  return out;
}

const refuse = (bytes: Uint8Array, message: string | RegExp, options = {}) => {
  expect(() => readIdx(bytes, { name: "some.idx", ...options })).toThrow(FormatError);
  expect(() => readIdx(bytes, { name: "some.idx", ...options })).toThrow(message);
};

describe("readIdx", () => {
  it("reads every type that IDX defines, big-endian", () => {
    expect(readIdx(idx(0x08, [2, 2], [1, 2, 254, 255]))).toEqual({
      dtype: "uint8",
      shape: [2, 2],
      data: Uint8Array.of(1, 2, 254, 255),
    });
    expect(readIdx(idx(0x09, [2], [1, 255])).data).toEqual(Int8Array.of(1, -1));
    expect(readIdx(idx(0x0b, [2], [1, 0, 0xff, 0xfe])).data).toEqual(Int16Array.of(256, -2));
    expect(readIdx(idx(0x0c, [1], [0xff, 0xff, 0xff, 0xfe])).data).toEqual(Int32Array.of(-2));
    expect(readIdx(idx(0x0d, [1], [0x3f, 0x80, 0, 0])).data).toEqual(Float32Array.of(1));
    expect(readIdx(idx(0x0e, [1], [0xc0, 0x04, 0, 0, 0, 0, 0, 0])).data).toEqual(Float64Array.of(-2.5));
  });

  it("reads from the middle of a larger buffer, and sets with no example", () => {
    const whole = Uint8Array.of(9, 9, 9, ...idx(0x0b, [1], [0, 7]), 9);
    expect(readIdx(whole.subarray(3, -1)).data).toEqual(Int16Array.of(7));
    expect(readIdx(idx(0x08, [0, 28, 28], []))).toMatchObject({ shape: [0, 28, 28], data: new Uint8Array(0) });
  });

  it("refuses what is no IDX file, naming the file, the value and what was expected", () => {
    refuse(new Uint8Array(0), "some.idx: 0 bytes; expected a header of at least 4");
    refuse(Uint8Array.of(0, 0, 8), "3 bytes");
    refuse(Uint8Array.of(0x1f, 0x8b, 8, 0, 0), "magic number 0x1f8b0800; expected two zero bytes first");
    refuse(idx(0x0a, [1], [0]), "type code 0x0a; expected one of 08, 09, 0b, 0c, 0d, 0e");
    refuse(Uint8Array.of(0, 0, 8, 0), "0 dimensions; expected at least 1");
    refuse(Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 1), "8 bytes; expected a header of 16 for 3 dimensions");
  });

  it("refuses data that is truncated or followed by more", () => {
    refuse(idx(0x08, [2, 2], [1, 2, 3]), "3 bytes of data (truncated); expected 4 for uint8 of shape [2,2]");
    refuse(idx(0x0c, [1], [1, 2, 3, 4, 5]), "5 bytes of data (bytes after the end); expected 4 for int32 of shape [1]");
    refuse(idx(0x08, [0], [1]), "1 bytes of data");
  });

  it("refuses sizes that no memory holds, without asking for it", () => {
    const huge = 2 ** 32 - 1;
    refuse(idx(0x08, [huge, huge], []), "expected a size below 2^53");
    refuse(idx(0x0e, [huge], []), `expected ${huge * 8}`);
    expect(readIdx(idx(0x08, [huge, huge, 0], [])).data).toHaveLength(0);
  });

  it("refuses another type or shape than the one asked for", () => {
    refuse(idx(0x09, [1], [0]), "values of type int8; expected uint8", { dtype: "uint8" });
    refuse(idx(0x08, [2, 3], [1, 2, 3, 4, 5, 6]), "shape [2,3]; expected [any,2]", { shape: [-1, 2] });
    refuse(idx(0x08, [2], [1, 2]), "shape [2]; expected [2,1]", { shape: [2, 1] });
    expect(readIdx(idx(0x08, [2, 1], [1, 2]), { dtype: "uint8", shape: [-1, 1] }).data).toEqual(Uint8Array.of(1, 2));
  });

  it("meets 20,000 mutated files with a result that fits or a FormatError, nothing else", () => {
    const rng = new Rng(11);
    const seeds = [
      idx(
        0x08,
        [3, 2, 2],
        Array.from({ length: 12 }, (_, i) => i),
      ),
      idx(0x0b, [5], new Array(10).fill(7)),
      idx(0x0e, [2, 1], new Array(16).fill(1)),
    ];
    let read = 0;
    for (let round = 0; round < 20_000; round++) {
      const n = rng.draw({ kind: "integers", size: 12, low: 0, high: 2 ** 31 - 1 });
      let bytes: Uint8Array = seeds[n[0]! % seeds.length]!.slice();
      for (let change = 0; change <= n[1]! % 3; change++) {
        const [kind, at, value] = [n[2 + 3 * change]!, n[3 + 3 * change]!, n[4 + 3 * change]!];
        // Mostly the header: that is where lies do harm.
        const place = bytes.length === 0 ? 0 : (value & 256 ? at : at % 16) % bytes.length;
        if (kind % 4 === 0) bytes = bytes.subarray(0, at % (bytes.length + 1));
        else if (kind % 4 === 1) bytes = Uint8Array.of(...bytes, ...new Array(at % 9).fill(value));
        else if (kind % 4 === 2) bytes[place] = value;
        else bytes[place] = bytes[place]! ^ (1 << (value % 8));
      }
      try {
        const { shape, data } = readIdx(bytes);
        expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
        read += 1;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    }
    expect(read).toBeGreaterThan(500);
    expect(read).toBeLessThan(15_000);
  });
});
