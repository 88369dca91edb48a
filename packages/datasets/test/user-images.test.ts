import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FormatError, Rng } from "@genai/core";
import { encode as encodePng } from "fast-png";
import jpeg from "jpeg-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeImage, loadImageFolder, resizeImage } from "../src/index.ts";

type Channels = 1 | 2 | 3 | 4;
type Colour = (x: number, y: number) => readonly number[];

function png(width: number, height: number, channels: Channels, colour: Colour, depth: 8 | 16 = 8): Uint8Array {
  const values = pixels(width, height, channels, colour);
  const data = depth === 8 ? values : Uint16Array.from(values, (v) => v * 257);
  return encodePng({ width, height, channels, depth, data });
}

function pixels(width: number, height: number, channels: number, colour: Colour): Uint8Array {
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) data.set(colour(x, y).slice(0, channels), (y * width + x) * channels);
  }
  return data;
}

function jpg(width: number, height: number, colour: Colour): Uint8Array {
  const rgba = pixels(width, height, 4, (x, y) => [...colour(x, y), 255]);
  return new Uint8Array(jpeg.encode({ width, height, data: rgba }, 95).data);
}

/** The JPEG with an EXIF segment that states the orientation. */
function oriented(bytes: Uint8Array, orientation: number): Uint8Array {
  const tiff = [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];
  const body = [0x45, 0x78, 0x69, 0x66, 0, 0, ...tiff];
  return Uint8Array.of(0xff, 0xd8, 0xff, 0xe1, 0, body.length + 2, ...body, ...bytes.subarray(2));
}

const grey: Colour = (x, y) => [10 * x + y, 10 * x + y, 10 * x + y];

describe("decodeImage", () => {
  it("reads PNG of every number of channels and 16 bits exactly", async () => {
    const colour: Colour = (x, y) => [x * 7, y * 11, x + y, 200 + x];
    for (const channels of [1, 2, 3, 4] as const) {
      for (const depth of [8, 16] as const) {
        const image = await decodeImage(png(5, 3, channels, colour, depth));
        expect(image).toEqual({ width: 5, height: 3, channels, data: pixels(5, 3, channels, colour) });
      }
    }
  });

  it("reads PNG with palettes and with samples smaller than a byte", async () => {
    const palette = [
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
    ];
    // Width 5 of 2 bits: rows end within a byte.
    const indexed = encodePng({
      width: 5,
      height: 2,
      channels: 1,
      depth: 2,
      palette,
      data: Uint8Array.of(0b00011000, 0b01000000, 0b10010010, 0b10000000),
    });
    const image = await decodeImage(indexed);
    expect(image.channels).toBe(3);
    const expected = [0, 1, 2, 0, 1, 2, 1, 0, 2, 2].flatMap((index) => palette[index]!);
    expect(Array.from(image.data)).toEqual(expected);
    const bits = encodePng({ width: 3, height: 1, channels: 1, depth: 1, data: Uint8Array.of(0b10100000) });
    expect(Array.from((await decodeImage(bits)).data)).toEqual([255, 0, 255]);
  });

  it("reads JPEG closely and turns it upright as its EXIF data says", async () => {
    // Quarters of 16x16: dark, bright / bright, bright, so that every orientation shows.
    const dark: Colour = (x, y) => (x < 16 && y < 8 ? [0, 0, 0] : [255, 255, 255]);
    const bytes = jpg(32, 16, dark);
    const at = (image: { width: number; data: Uint8Array }, x: number, y: number) =>
      image.data[(y * image.width + x) * 3]!;
    const upright = await decodeImage(bytes);
    expect([upright.width, upright.height, upright.channels]).toEqual([32, 16, 3]);
    const corners = async (orientation: number) => {
      const image = await decodeImage(oriented(bytes, orientation));
      const { width, height } = image;
      const spots = [
        [2, 2],
        [width - 3, 2],
        [2, height - 3],
        [width - 3, height - 3],
      ] as const;
      return [width, ...spots.map(([x, y]) => (at(image, x, y) < 128 ? "dark" : "light"))].join(" ");
    };
    expect(await corners(1)).toBe("32 dark light light light");
    expect(await corners(2)).toBe("32 light dark light light");
    expect(await corners(3)).toBe("32 light light light dark");
    expect(await corners(4)).toBe("32 light light dark light");
    expect(await corners(5)).toBe("16 dark light light light");
    expect(await corners(6)).toBe("16 light dark light light");
    expect(await corners(7)).toBe("16 light light light dark");
    expect(await corners(8)).toBe("16 light light dark light");
  });

  it("refuses other files, truncated ones and sizes that are lies", async () => {
    await expect(decodeImage(new TextEncoder().encode("GIF89a"), { name: "a.gif" })).rejects.toThrow(
      "a.gif (6 bytes) begins with 47 49 46 38; expected a PNG or JPEG file",
    );
    await expect(decodeImage(new Uint8Array(0))).rejects.toThrow("begins with nothing");
    const whole = png(20, 20, 3, grey);
    await expect(decodeImage(whole.subarray(0, 60))).rejects.toThrow(FormatError);
    const photo = jpg(64, 64, grey);
    for (const share of [0.3, 0.7, 0.99]) {
      await expect(decodeImage(photo.subarray(0, Math.floor(photo.length * share)))).rejects.toThrow(FormatError);
    }
    const more = await decodeImage(Uint8Array.of(...photo, ...new TextEncoder().encode("a camera's trailer")));
    expect(more).toEqual(await decodeImage(photo));
    const huge = whole.slice();
    new DataView(huge.buffer).setUint32(16, 2 ** 31 - 1);
    await expect(decodeImage(huge)).rejects.toThrow("states 2147483647x20 pixels, more than 67108864");
  });

  it("meets 3,000 mutated files with an image that fits or a FormatError, nothing else", async () => {
    const rng = new Rng(5);
    const seeds = [
      png(9, 7, 3, grey),
      png(6, 6, 1, grey),
      png(4, 4, 4, grey, 16),
      jpg(16, 12, grey),
      oriented(jpg(9, 9, grey), 6),
    ];
    let read = 0;
    for (let round = 0; round < 3000; round++) {
      const n = rng.draw({ kind: "integers", size: 10, low: 0, high: 2 ** 31 - 1 });
      let bytes = seeds[n[0]! % seeds.length]!.slice();
      for (let change = 0; change <= n[1]! % 3; change++) {
        const [at, value] = [n[2 + 2 * change]!, n[3 + 2 * change]!];
        if (value % 8 === 0) bytes = bytes.slice(0, at % (bytes.length + 1));
        else if (bytes.length > 0) bytes[at % bytes.length] = value & 255;
      }
      try {
        const { width, height, channels, data } = await decodeImage(bytes, { maxPixels: 10_000 });
        expect(data.length).toBe(width * height * channels);
        read += 1;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    }
    expect(read).toBeGreaterThan(50);
    expect(read).toBeLessThan(2500);
  });
});

describe("resizeImage", () => {
  const image = (width: number, height: number, channels: Channels, colour: Colour) => ({
    width,
    height,
    channels,
    data: pixels(width, height, channels, colour),
  });

  it("keeps what is even, and its mean when it shrinks", () => {
    const even = resizeImage(
      image(10, 7, 3, () => [9, 90, 200]),
      [3, 16],
    );
    expect(Array.from(even.data.subarray(0, 6))).toEqual([9, 90, 200, 9, 90, 200]);
    expect(new Set(even.data).size).toBe(3);
    // Stripes of one pixel would alias to black or white without a filter.
    const stripes = resizeImage(
      image(64, 64, 1, (x) => [x % 2 === 0 ? 0 : 255]),
      [8, 8],
    );
    for (const value of stripes.data) expect(Math.abs(value - 127.5)).toBeLessThan(12);
  });

  it("does not let the colour of transparent pixels bleed", () => {
    const edge = resizeImage(
      image(8, 8, 4, (x) => (x < 3 ? [0, 200, 0, 255] : [255, 0, 0, 0])),
      [4, 4],
    );
    for (let i = 0; i < 16; i++) if (edge.data[4 * i + 3]! > 8) expect(edge.data[4 * i]).toBe(0);
  });
});

describe("loadImageFolder", () => {
  let root: string;
  const write = async (path: string, bytes: Uint8Array) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), bytes);
  };
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "genai-images-"));
    for (let i = 0; i < 3; i++) {
      await write(
        `classes/cat/${i}.png`,
        png(6, 4, 1, () => [i]),
      );
      await write(
        `classes/dog/${i}.png`,
        png(6, 4, 1, () => [100 + i]),
      );
    }
    await write("classes/.thumbs/x.png", Uint8Array.of(1));
    await write("classes/notes.txt", Uint8Array.of(1));
    const good = png(4, 4, 1, grey);
    for (let i = 0; i < 1000; i++) await write(`thousand/${String(i).padStart(3, "0")}.png`, good);
    await write("thousand/017.png", good.subarray(0, 50)); // cut off
    await write("thousand/400.png", new Uint8Array(0));
    await write("thousand/999.png", new TextEncoder().encode("<html>"));
    await write("broken/a.png", new Uint8Array(0));
    await write("mixed/a.png", png(4, 4, 1, grey));
    await write(
      "mixed/b.jpg",
      jpg(8, 6, (x) => [30 * x, 0, 0]),
    );
    await write("empty/readme.md", Uint8Array.of(35));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  it("reads images in the order of their paths, with the folders as classes", async () => {
    const set = await loadImageFolder(join(root, "classes"));
    expect(set.shape).toEqual([6, 4, 6, 1]);
    expect(set.classes).toEqual(["cat", "dog"]);
    expect(Array.from(set.labels)).toEqual([0, 0, 0, 1, 1, 1]);
    expect([0, 1, 2, 3, 4, 5].map((i) => set.images[i * 24])).toEqual([0, 1, 2, 100, 101, 102]);
    expect(set.files[4]).toBe("dog/1.png");
    expect(set.broken).toEqual([]);
    expect(set.images.byteLength).toBe(set.images.buffer.byteLength);
  });

  it("names three broken images among a thousand, and goes on without them if asked", async () => {
    await expect(loadImageFolder(join(root, "thousand"))).rejects.toThrow(
      /^loadImageFolder: 3 of 1000 images cannot be read: 017\.png is no whole PNG file .*; 400\.png \(0 bytes\) .*; 999\.png \(6 bytes\) begins with 3c 68 .*onBroken: "skip"$/,
    );
    const set = await loadImageFolder(join(root, "thousand"), { onBroken: "skip" });
    expect(set.shape).toEqual([997, 4, 4, 1]);
    expect(set.broken.map(({ file }) => file)).toEqual(["017.png", "400.png", "999.png"]);
    expect(set.images).toHaveLength(997 * 16);
    await expect(loadImageFolder(join(root, "broken"), { onBroken: "skip" })).rejects.toThrow(
      "1 of 1 images cannot be",
    );
  });

  it("names two images of different sizes, or brings them to one", async () => {
    await expect(loadImageFolder(join(root, "mixed"))).rejects.toThrow(
      "a.png is 4x4 pixels and b.jpg 8x6; expected one size, or the option size",
    );
    const set = await loadImageFolder(join(root, "mixed"), { size: 4 });
    expect(set.shape).toEqual([2, 4, 4, 3]);
    expect(Array.from(set.images.subarray(3, 6))).toEqual([10, 10, 10]);
    expect((await loadImageFolder(join(root, "mixed"), { size: [3, 5], fit: "stretch", channels: 1 })).shape).toEqual([
      2, 3, 5, 1,
    ]);
    expect((await loadImageFolder(join(root, "mixed"), { size: 4, channels: 4 })).shape).toEqual([2, 4, 4, 4]);
  });

  it("lays transparent pixels over the background", async () => {
    const clear = new File([png(2, 1, 4, (x) => [200, 0, 0, x * 255]) as Uint8Array<ArrayBuffer>], "a.png");
    const white = await loadImageFolder([clear]);
    expect(Array.from(white.images)).toEqual([255, 255, 255, 200, 0, 0]);
    expect(Array.from((await loadImageFolder([clear], { background: [0, 0, 9] })).images)).toEqual([
      0, 0, 9, 200, 0, 0,
    ]);
    expect(Array.from((await loadImageFolder([clear], { channels: 4 })).images)).toEqual([
      200, 0, 0, 0, 200, 0, 0, 255,
    ]);
  });

  it("says what is there when there are no images, and stops on a signal", async () => {
    await expect(loadImageFolder(join(root, "empty"))).rejects.toThrow(
      "holds 1 files with the endings .md; expected .png",
    );
    await expect(loadImageFolder(join(root, "nowhere"))).rejects.toThrow("nowhere cannot be read (it is not there)");
    await expect(loadImageFolder(join(root, "mixed", "a.png"))).rejects.toThrow("cannot be read (it is no folder)");
    await expect(loadImageFolder(undefined as unknown as string)).rejects.toThrow(
      "undefined is no file; expected a path",
    );
    await expect(loadImageFolder([])).rejects.toThrow("the list of files holds no files");
    await expect(loadImageFolder(join(root, "classes"), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
    await expect(loadImageFolder(join(root, "classes"), { size: 0 })).rejects.toThrow("size (0)");
  });
});
