import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { batches, drawDigits, type ImageSet, loadMnist } from "../src/index.ts";

await tf.setBackend("cpu");
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of all array buffers once garbage is collected, which takes a few turns of the event loop. */
async function arrayBuffers(): Promise<number> {
  for (let last = Number.POSITIVE_INFINITY; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
    const now = process.memoryUsage().arrayBuffers;
    if (now === last) return now;
    last = now;
  }
}

const ownBytes = ({ images, labels }: ImageSet) => images.byteLength + labels.byteLength;

describe("a set's memory", () => {
  const drawn = async () => drawDigits({ count: 10_000, rng: new Rng(1) });

  it("is about its bytes when it is drawn, not four times as much", async () => {
    await drawn();
    const before = await arrayBuffers();
    const set = await drawn();
    const taken = (await arrayBuffers()) - before;
    expect(ownBytes(set)).toBe(7_850_000);
    expect(taken).toBeGreaterThan(0.9 * ownBytes(set));
    expect(taken).toBeLessThan(1.1 * ownBytes(set));
  });

  it("is that of a few batches more while it is gone through", async () => {
    const set = await drawn();
    const before = await arrayBuffers();
    const stream = batches(set, { batchSize: 128, rng: new Rng(1), range: [0, 1], prefetch: 2 });
    for (let i = 0; i < 20; i++) tf.dispose((await stream.next()).value!);
    const taken = (await arrayBuffers()) - before;
    // Two batches of floats, and the order of an epoch.
    expect(taken).toBeLessThan(2 * 128 * 784 * 4 + 4 * 10_000 + 200_000);
    expect(ownBytes(set)).toBeGreaterThan(0);
    await stream.return();
  });

  it.runIf(process.env.GENAI_DATA_DIR)("is about its bytes when it is MNIST: 47 MB, not 188", async () => {
    const before = await arrayBuffers();
    const set = await loadMnist({ split: "train" });
    const taken = (await arrayBuffers()) - before;
    expect(ownBytes(set)).toBe(47_100_000);
    expect(taken).toBeGreaterThan(0.98 * ownBytes(set));
    expect(taken).toBeLessThan(1.02 * ownBytes(set));
  });
});
