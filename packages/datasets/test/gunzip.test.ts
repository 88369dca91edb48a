import { gzipSync } from "node:zlib";
import { FormatError, Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { inflateByStream } from "../src/gunzip.ts";
import { type GunzipOptions, gunzip } from "../src/index.ts";

const content = Uint8Array.from(new Rng(3).draw({ kind: "integers", size: 100_000, low: 0, high: 16 }));
const packed = new Uint8Array(gzipSync(content));

const ways = {
  "zlib in Node": gunzip,
  "the web platform's stream": (bytes: Uint8Array, options: GunzipOptions) => inflateByStream(bytes, 1000, options),
};

for (const [way, inflate] of Object.entries(ways)) {
  describe(`gunzip by ${way}`, () => {
    const options = { maxBytes: content.length, name: "a.gz" };

    it("returns the content", async () => {
      expect(Buffer.compare(await inflate(packed, options), content)).toBe(0);
      expect(await inflate(new Uint8Array(gzipSync("")), { maxBytes: 0, name: "a.gz" })).toHaveLength(0);
    });

    it("hands on every part in order, and returns the whole in no more than its own bytes", async () => {
      const noise = Uint8Array.from(new Rng(5).draw({ kind: "integers", size: 3_000_000, low: 0, high: 256 }));
      const parts: Uint8Array[] = [];
      const bytes = new Uint8Array(gzipSync(noise));
      const all = await inflate(bytes, {
        maxBytes: noise.length,
        name: "noise.gz",
        onPart: (part) => parts.push(part.slice()),
      });
      expect(Buffer.compare(all, noise)).toBe(0);
      expect(parts.length).toBeGreaterThan(1);
      expect(Buffer.compare(Buffer.concat(parts), noise)).toBe(0);
      expect(all.buffer.byteLength).toBeLessThan(noise.length + 100);
    });

    it("refuses more than the bound, as a bomb would give", async () => {
      const bomb = new Uint8Array(gzipSync(new Uint8Array(50_000_000)));
      await expect(inflate(bomb, { maxBytes: 1_000_000, name: "bomb.gz" })).rejects.toThrow(FormatError);
      await expect(inflate(packed, { ...options, maxBytes: content.length - 1 })).rejects.toThrow(
        "gunzip: a.gz decompresses to more than the 99999 bytes expected",
      );
    });

    it("refuses truncated and damaged files and bytes after the end", async () => {
      const damaged = packed.slice();
      damaged[damaged.length - 6]! ^= 1; // the checksum
      for (const bytes of [packed.subarray(0, -1), packed.subarray(0, 5000), damaged, Uint8Array.of(...packed, 5, 1)]) {
        await expect(inflate(bytes, options)).rejects.toThrow(FormatError);
        await expect(inflate(bytes, options)).rejects.toThrow("a.gz is damaged");
      }
    });
  });
}

describe("gunzip", () => {
  it("says what the bytes begin with when they are no gzip file", async () => {
    const bytes = new TextEncoder().encode("<html>a sign-in page</html>");
    await expect(gunzip(bytes, { maxBytes: 10, name: "a.gz" })).rejects.toThrow(
      "gunzip: a.gz (27 bytes) begins with 3c 68; expected a gzip file of at least 18 bytes that begins with 1f 8b",
    );
  });

  it("refuses zeros after the end, which Node's own reader skips", async () => {
    await expect(gunzip(Uint8Array.of(...packed, 0, 0), { maxBytes: content.length, name: "a.gz" })).rejects.toThrow(
      "gunzip: a.gz is damaged (2 bytes after its end); expected a whole gzip file",
    );
  });

  it("meets 2,000 mutated files with the content or a FormatError", async () => {
    const small = new Uint8Array(gzipSync("to be or not to be, that is the question"));
    const rng = new Rng(4);
    for (let round = 0; round < 2000; round++) {
      const [at, value, cut] = rng.draw({ kind: "integers", size: 3, low: 0, high: 2 ** 31 - 1 });
      const bytes = small.slice(0, cut! % 4 === 0 ? cut! % small.length : small.length);
      if (bytes.length > 0) bytes[at! % bytes.length] = value!;
      await gunzip(bytes, { maxBytes: 100, name: "mutated.gz" }).catch((error) => {
        if (!(error instanceof FormatError)) throw error;
      });
    }
  });
});
