import { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  batches,
  type DataFile,
  DataUnavailableError,
  drawDigits,
  gunzip,
  loadCsv,
  loadImageFolder,
  loadTextFiles,
  readIdx,
  resolveFile,
  toTensors,
} from "../src/index.ts";

const text = "to be or not to be, that is the question\n".repeat(1000);

async function gzipped(): Promise<Blob> {
  return new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

async function fileAt(url: string, path: string): Promise<DataFile> {
  const bytes = new TextEncoder().encode(text);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { path, urls: [url], bytes: bytes.length, sha256 };
}

describe("in a browser", () => {
  it("downloads, verifies and keeps a file, which is then had without the network", async () => {
    const url = URL.createObjectURL(await gzipped());
    const file = await fileAt(url, `test/${crypto.randomUUID()}.txt.gz`);
    let received = 0;
    const first = await resolveFile(file, { onProgress: (progress) => (received = progress.received) });
    expect(first.from).toBe("download");
    expect(received).toBeGreaterThan(0);
    expect(new TextDecoder().decode(first.bytes)).toBe(text);
    URL.revokeObjectURL(url);
    const second = await resolveFile(file);
    expect(second.from).toBe("cache");
    expect(new TextDecoder().decode(second.bytes)).toBe(text);
  });

  it("refuses a file that does not verify, and says when one cannot be had", async () => {
    const url = URL.createObjectURL(await gzipped());
    const path = `test/${crypto.randomUUID()}.txt.gz`;
    const file = await fileAt(url, path);
    await expect(resolveFile({ ...file, sha256: "0".repeat(64) })).rejects.toThrow(DataUnavailableError);
    await expect(resolveFile({ ...file, bytes: 100 })).rejects.toThrow("decompresses to more than the 100 bytes");
    URL.revokeObjectURL(url);
    await expect(resolveFile(file, { retries: 0 })).rejects.toThrow(`resolveFile: ${path} cannot be had`);
  });

  it("draws digits and batches them", async () => {
    await tf.setBackend("cpu");
    const stream = batches(drawDigits({ count: 20, rng: new Rng(1) }), { batchSize: 8, rng: new Rng(2) });
    const { value } = await stream.next();
    expect(value!.images.shape).toEqual([8, 28, 28, 1]);
    expect((await value!.images.max().data())[0]).toBeGreaterThan(0.5);
    tf.dispose(value!);
    await stream.return();
  });

  it("verifies and keeps what a mirror serves, and gives up what caches.delete frees", async () => {
    // The part after # is not sent, so that the base of this mirror is a file.
    const address = URL.createObjectURL(await gzipped());
    const file = await fileAt("https://never.invalid/", `test/${crypto.randomUUID()}.txt.gz`);
    expect((await resolveFile(file, { mirrors: [`${address}#`] })).from).toBe("download");
    expect((await resolveFile(file)).from).toBe("cache");
    URL.revokeObjectURL(address);
    await caches.delete("genai-datasets");
    await expect(resolveFile(file, { mirrors: [], retries: 0 })).rejects.toThrow(DataUnavailableError);
  });

  it("replaces a damaged file in the cache", async () => {
    const address = URL.createObjectURL(await gzipped());
    const file = await fileAt(address, `test/${crypto.randomUUID()}.txt.gz`);
    const cache = await caches.open("genai-datasets");
    await cache.put(`https://datasets.genai.invalid/${file.path}`, new Response("damaged"));
    expect((await resolveFile(file)).from).toBe("download");
    expect((await resolveFile(file)).from).toBe("cache");
    URL.revokeObjectURL(address);
  });

  it("reads tables and IDX files from the origin private file system", async () => {
    const folder = await navigator.storage.getDirectory();
    const keep = async (name: string, content: Blob | string) => {
      const handle = await folder.getFileHandle(name, { create: true });
      const writable = await handle.createWritable();
      await writable.write(content);
      await writable.close();
      return handle.getFile();
    };
    expect((await loadCsv(await keep("table.csv", "a,b\n1,x\n2,y\n"))).shape).toEqual([2, 2]);
    const idx = Uint8Array.of(0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6);
    const packed = new Response(new Blob([idx]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
    const file = await keep("digits.gz", await packed);
    const bytes = await gunzip(new Uint8Array(await file.arrayBuffer()), { maxBytes: 100, name: file.name });
    expect(readIdx(bytes, { dtype: "uint8" })).toMatchObject({ shape: [2, 3], data: Uint8Array.of(1, 2, 3, 4, 5, 6) });
    for (const name of ["table.csv", "digits.gz"]) await folder.removeEntry(name);
  });

  it("takes the files of a chosen folder, whose folders are the classes", async () => {
    const canvas = new OffscreenCanvas(4, 4);
    canvas.getContext("2d")!.fillRect(0, 0, 4, 4);
    const png = await canvas.convertToBlob({ type: "image/png" });
    // What a FileList of <input webkitdirectory> holds.
    const chosen = ["photos/cat/1.png", "photos/dog/1.png", "photos/dog/.hidden.png", "photos/notes.txt"].map(
      (path) => {
        const file = new File([png], path.slice(path.lastIndexOf("/") + 1));
        Object.defineProperty(file, "webkitRelativePath", { value: path });
        return file;
      },
    );
    const set = await loadImageFolder(chosen);
    expect([set.shape, set.classes, [...set.labels]]).toEqual([
      [2, 4, 4, 3],
      ["cat", "dog"],
      [0, 1],
    ]);
    expect(set.files).toEqual(["cat/1.png", "dog/1.png"]);
    const tensors = toTensors(set);
    expect(tensors.images.shape).toEqual([2, 4, 4, 3]);
    tf.dispose(tensors);
  });

  it("reads the user's own images, tables and texts from Files and addresses", async () => {
    const canvas = new OffscreenCanvas(12, 8);
    const context = canvas.getContext("2d")!;
    context.fillStyle = "rgb(200, 100, 50)";
    context.fillRect(0, 0, 12, 8);
    const png = new File([await canvas.convertToBlob({ type: "image/png" })], "a.png");
    const jpeg = new File([await canvas.convertToBlob({ type: "image/jpeg", quality: 1 })], "b.jpg");
    const broken = new File([new Uint8Array(10)], "c.png");
    const set = await loadImageFolder([png, jpeg, broken], { size: 4, onBroken: "skip" });
    expect(set.shape).toEqual([2, 4, 4, 3]);
    expect(set.broken.map(({ file }) => file)).toEqual(["c.png"]);
    for (const [i, value] of set.images.entries()) {
      expect(Math.abs(value - [200, 100, 50][i % 3]!)).toBeLessThanOrEqual(i < 48 ? 0 : 4);
    }
    const csv = "a,b\n1,x\n2,y\n";
    const address = URL.createObjectURL(new Blob([csv]));
    expect((await loadCsv(address)).shape).toEqual([2, 2]);
    expect((await loadCsv(new File([csv], "a.csv"))).columns.map(({ name }) => name)).toEqual(["a", "b"]);
    URL.revokeObjectURL(address);
    expect((await loadTextFiles(new File([text], "a.txt"))).text).toBe(text);
    await expect(loadImageFolder("/folder")).rejects.toThrow("a path needs Node");
  });
});
