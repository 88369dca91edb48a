import { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  batches,
  type DataFile,
  DataUnavailableError,
  drawDigits,
  loadCsv,
  loadImageFolder,
  loadTextFiles,
  resolveFile,
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
