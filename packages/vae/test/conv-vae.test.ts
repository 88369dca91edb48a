import {
  adam,
  countParams,
  createEagerEngine,
  type Engine,
  Rng,
  treeDispose,
  treeEntries,
  treeMap,
  valueAndGrad,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  binarize,
  type ConvVae,
  type ConvVaeConfig,
  type ConvVaeParams,
  convVaeElbo,
  convVaeLoss,
  convVaePresets,
  createConvVae,
  decodeConvVae,
  encodeConvVae,
  interpolateConvVae,
  reconstructConvVae,
  sampleConvVae,
} from "../src/index.ts";

const tiny: ConvVaeConfig = {
  imageSize: [8, 8],
  channels: 1,
  hiddenChannels: [4, 6],
  denseDim: 16,
  latentDim: 3,
  encoderKernel: 3,
  decoderKernel: 4,
};

const images = (count: number, rng = new Rng(7), shape: readonly number[] = [8, 8, 1]) =>
  rng.uniform([count, ...shape]) as tf.Tensor4D;

let engine: Engine;
beforeAll(async () => {
  engine = await createEagerEngine("cpu");
});

describe("createConvVae", () => {
  it("has as many parameters as the same architecture in PyTorch", () => {
    const vae = createConvVae(convVaePresets.mnist, new Rng(0));
    expect(countParams(vae.params)).toBe(1_673_729);
    treeDispose(vae);
  });

  it("names and lays out parameters as PyTorch does", () => {
    const vae = createConvVae(tiny, new Rng(0));
    const shapes = Object.fromEntries(treeEntries(vae.params).map(([path, { shape }]) => [path, shape]));
    expect(shapes).toEqual({
      "encoder.conv.0.weight": [4, 1, 3, 3],
      "encoder.conv.0.bias": [4],
      "encoder.conv.1.weight": [6, 4, 3, 3],
      "encoder.conv.1.bias": [6],
      "encoder.dense.weight": [16, 24],
      "encoder.dense.bias": [16],
      "encoder.mu.weight": [3, 16],
      "encoder.mu.bias": [3],
      "encoder.logvar.weight": [3, 16],
      "encoder.logvar.bias": [3],
      "decoder.dense.weight": [16, 3],
      "decoder.dense.bias": [16],
      "decoder.project.weight": [24, 16],
      "decoder.project.bias": [24],
      "decoder.conv.0.weight": [6, 4, 4, 4],
      "decoder.conv.0.bias": [4],
      "decoder.conv.1.weight": [4, 1, 4, 4],
      "decoder.conv.1.bias": [1],
    });
    treeDispose(vae);
  });

  it("makes the same parameters of the same seed, and others of another", async () => {
    const [a, b, c] = [1, 1, 2].map((seed) => createConvVae(tiny, new Rng(seed)).params.encoder.mu.weight.dataSync());
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  it.each([
    [{ latentDim: 0 }, /latentDim \(0\)/],
    [{ channels: 1.5 }, /channels \(1.5\)/],
    [{ hiddenChannels: [] }, /hiddenChannels is empty/],
    [{ encoderKernel: 2 }, /encoderKernel \(2\)/],
    [{ imageSize: [10, 8] as const }, /imageSize \(10,8\) becomes 3 from 5.*divisible by 4, or an odd decoderKernel/],
  ])("refuses %j", (change, message) => {
    expect(() => createConvVae({ ...tiny, ...change }, new Rng(0))).toThrow(message);
  });
});

describe("a convolutional VAE", () => {
  let vae: ConvVae;
  beforeAll(() => {
    vae = createConvVae(tiny, new Rng(3));
  });

  it.each<[string, Partial<ConvVaeConfig>]>([
    ["colour and unequal sides", { imageSize: [8, 12], channels: 3 }],
    ["odd sizes with odd kernels", { imageSize: [7, 9], decoderKernel: 3 }],
    ["kernels of 5", { imageSize: [9, 6], encoderKernel: 5, decoderKernel: 5 }],
    ["one convolution and no dense layer", { hiddenChannels: [5], denseDim: null }],
  ])("gives back images of the size it was made for: %s", (_, change) => {
    const config = { ...tiny, ...change };
    const other = createConvVae(config, new Rng(0));
    const x = images(2, new Rng(1), [...config.imageSize, config.channels]);
    const { mu, logvar } = encodeConvVae(other, x);
    expect(mu.shape).toEqual([2, 3]);
    expect(logvar.shape).toEqual([2, 3]);
    expect(decodeConvVae(other, mu).shape).toEqual(x.shape);
  });

  it("samples mean images in (0, 1), the same for the same seed", () => {
    const draw = (seed: number) => sampleConvVae(vae, { count: 5, rng: new Rng(seed) });
    const samples = draw(1);
    expect(samples.shape).toEqual([5, 8, 8, 1]);
    for (const p of samples.dataSync()) expect(p > 0 && p < 1).toBe(true);
    expect(draw(1).dataSync()).toEqual(samples.dataSync());
    expect(draw(2).dataSync()).not.toEqual(samples.dataSync());
  });

  it.each(["linear", "spherical"] as const)("interpolates between reconstructions on a %s path", (path) => {
    const [from, to] = [images(2, new Rng(1)), images(2, new Rng(2))];
    const walk = interpolateConvVae(vae, from, to, { steps: 4, path });
    expect(walk.shape).toEqual([2, 4, 8, 8, 1]);
    const frame = (i: number) => walk.slice([0, i], [2, 1]).dataSync();
    const close = (got: ArrayLike<number>, want: ArrayLike<number>) => {
      for (let i = 0; i < want.length; i++) expect(got[i]).toBeCloseTo(want[i]!, 5);
    };
    close(frame(0), reconstructConvVae(vae, from).dataSync());
    close(frame(3), reconstructConvVae(vae, to).dataSync());
  });

  it("stays where it is between an image and itself", () => {
    const x = images(1);
    const walk = interpolateConvVae(vae, x, x, { steps: 3 });
    const still = reconstructConvVae(vae, x).dataSync();
    for (const [i, p] of walk.dataSync().entries()) expect(p).toBeCloseTo(still[i % 64]!, 5);
  });

  it("has no KL when the posterior is the prior, and log 2 per pixel when every logit is 0", () => {
    const zero = { config: tiny, params: mapZeros(vae.params) };
    const { loss, recon, kl } = convVaeLoss(zero, images(3), new Rng(0));
    expect(kl.dataSync()[0]).toBe(0);
    expect(recon.dataSync()[0]).toBeCloseTo(64 * Math.log(2), 4);
    expect(loss.dataSync()[0]).toBeCloseTo(64 * Math.log(2), 4);
  });

  it("weighs the KL term with beta, given as a number or as a scalar", () => {
    const x = images(3);
    const at = (beta: number | tf.Scalar) => convVaeLoss(vae, x, new Rng(5), { beta });
    const { recon, kl } = at(1);
    const want = recon.dataSync()[0]! + 4 * kl.dataSync()[0]!;
    expect(at(4).loss.dataSync()[0]).toBeCloseTo(want, 4);
    expect(at(tf.scalar(4)).loss.dataSync()[0]).toBeCloseTo(want, 4);
  });

  it("averages over the batch: repeating it changes nothing when the noise is repeated too", () => {
    const x = images(3);
    const eps = new Rng(1).normal([3, 3]) as tf.Tensor2D;
    const once = convVaeLoss(vae, x, eps).loss.dataSync()[0]!;
    const twice = convVaeLoss(vae, tf.concat([x, x]), tf.concat([eps, eps]) as tf.Tensor2D).loss.dataSync()[0]!;
    expect(twice).toBeCloseTo(once, 4);
  });

  it("gives a gradient to every parameter", () => {
    const { grads } = valueAndGrad(
      (params: ConvVaeParams) => convVaeLoss({ config: tiny, params }, images(6), new Rng(0)),
      vae.params,
    );
    for (const [path, grad] of treeEntries(grads))
      expect([path, grad.abs().sum().dataSync()[0]! > 0]).toEqual([path, true]);
  });

  it("leaks no tensors", () => {
    const x = images(2);
    const before = tf.memory().numTensors;
    const made = [
      encodeConvVae(vae, x),
      reconstructConvVae(vae, x),
      sampleConvVae(vae, { count: 2, rng: new Rng(0) }),
      interpolateConvVae(vae, x, x, { steps: 3 }),
      convVaeLoss(vae, x, new Rng(0)),
      binarize(x, new Rng(0)),
    ];
    expect(tf.memory().numTensors).toBe(before + 2 + 1 + 1 + 1 + 3 + 1);
    treeDispose(made);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("names the function, the shape and what was expected when shapes do not fit", () => {
    const wrong = tf.zeros([2, 8, 8, 3]) as tf.Tensor4D;
    expect(() => encodeConvVae(vae, wrong)).toThrow(
      "encodeConvVae: images have shape [2,8,8,3]; expected [batch, 8, 8, 1]",
    );
    expect(() => convVaeLoss(vae, wrong, new Rng(0))).toThrow("convVaeLoss: images have shape");
    expect(() => decodeConvVae(vae, tf.zeros([2, 4]))).toThrow("decodeConvVae: z has shape [2,4]; expected [batch, 3]");
    expect(() => sampleConvVae(vae, { count: 0, rng: new Rng(0) })).toThrow("count (0)");
    expect(() => interpolateConvVae(vae, images(2), images(3), { steps: 3 })).toThrow("2 images to start from and 3");
  });

  it("memorises one batch", async () => {
    // Blocks of ink: binary images, whose reconstruction can come close to 0 nats.
    const x = tf.tidy(() => images(4).less(0.5).toFloat()) as tf.Tensor4D;
    const optimizer = adam({ learningRate: 1e-2 });
    const small = createConvVae({ ...tiny, latentDim: 8 }, new Rng(1));
    let state = { params: small.params, opt: optimizer.init(small.params) };
    const step = engine.compile((s: typeof state, batch: tf.Tensor4D, rng: Rng) => {
      const { grads, recon } = valueAndGrad(
        (params: ConvVaeParams) => convVaeLoss({ config: small.config, params }, batch, rng, { beta: 0.01 }),
        s.params,
      );
      const next = optimizer.update(grads, s.opt, s.params);
      return { state: { params: next.params, opt: next.state }, recon };
    });
    const rng = new Rng(2);
    let first = 0;
    let last = 0;
    for (let i = 0; i < 300; i++) {
      const { state: next, recon } = await step(state, x, rng);
      treeDispose(state);
      state = next;
      last = recon.dataSync()[0]!;
      if (i === 0) first = last;
      recon.dispose();
    }
    expect(first).toBeGreaterThan(40);
    expect(last).toBeLessThan(first / 8);
  });
});

describe("binarize", () => {
  it("draws 0 and 1 with the grey levels as probabilities", () => {
    const x = tf.fill([200, 100], 0.3);
    const bits = binarize(x, new Rng(0));
    const values = bits.dataSync();
    expect(new Set(values)).toEqual(new Set([0, 1]));
    // Five standard deviations of the mean of 20,000 draws.
    expect(Math.abs(bits.mean().dataSync()[0]! - 0.3)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / 20_000));
  });

  it("leaves black and white as they are", () => {
    const x = tf.tensor([0, 1, 0, 1, 1]);
    expect(Array.from(binarize(x, new Rng(0)).dataSync())).toEqual([0, 1, 0, 1, 1]);
  });
});

describe("convVaeElbo", () => {
  it("is the mean of the images' bounds, whatever the size of the batches", async () => {
    const zero = { config: tiny, params: mapZeros(createConvVae(tiny, new Rng(0)).params) };
    for (const batchSize of [2, 3, 50]) {
      const { elbo, recon, kl } = await convVaeElbo(engine, zero, images(7), { rng: new Rng(0), batchSize });
      expect(elbo).toBeCloseTo(-64 * Math.log(2), 4);
      expect(recon).toBeCloseTo(64 * Math.log(2), 4);
      expect(kl).toBe(0);
    }
  });

  it("stops when its signal fires", async () => {
    const vae = createConvVae(tiny, new Rng(0));
    const signal = AbortSignal.abort();
    await expect(convVaeElbo(engine, vae, images(2), { rng: new Rng(0), signal })).rejects.toThrow(
      "convVaeElbo: aborted",
    );
  });

  it("leaks no tensors", async () => {
    const vae = createConvVae(tiny, new Rng(0));
    const x = images(5);
    const before = tf.memory().numTensors;
    await convVaeElbo(engine, vae, x, { rng: new Rng(0), batchSize: 2, binarized: true });
    expect(tf.memory().numTensors).toBe(before);
  });
});

const mapZeros = (params: ConvVaeParams): ConvVaeParams => treeMap(params, (tensor) => tf.zerosLike(tensor));
