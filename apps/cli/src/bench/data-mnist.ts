import { type Engine, Rng, replaceState, treeDispose } from "@genai/core";
import { batches, type ImageSet, loadMnist, toTensors } from "@genai/datasets";
import * as tf from "@tensorflow/tfjs";
import type { BenchJob, BenchRequest } from "./job.ts";
import { cpuTimeMs, median, peakRssMib, round } from "./measure.ts";
import { convVaeTraining } from "./vae.ts";

const batchSize = 128;
const stepsPerBlock = 10;

/**
 * What MNIST costs: reading, verifying and turning 60,000 images into tensors, the memory of the set, and what drawing
 * shuffled batches adds to the training step of `vae`, against the same step on one batch over and over.
 */
export const dataMnist: BenchJob = {
  name: "data_mnist",
  summary: "loading MNIST to tensors, its memory, and what its batches add to training",
  async run(engine, request) {
    const memory = await memoryOfSet();
    const { set, ...loading } = await timeLoading();
    const training = await timeTraining(engine, set, request);
    return {
      bench: "data_mnist",
      engine: engine.name,
      threads: request.threads,
      ...loading,
      ...memory,
      ...training,
      peak_rss_mib: peakRssMib(),
    };
  },
};

/** Array buffers and resident memory that a loaded set takes, once garbage is collected. */
async function memoryOfSet() {
  const collect = await garbageCollector();
  const before = await collect();
  const set = await loadMnist({ split: "train" });
  const after = await collect();
  const mib = (bytes: number) => round(bytes / 2 ** 20, 1);
  return {
    set_mib: mib(set.images.byteLength + set.labels.byteLength),
    set_array_buffers_mib: mib(after.arrayBuffers - before.arrayBuffers),
    set_rss_mib: mib(after.rss - before.rss),
  };
}

async function garbageCollector(): Promise<() => Promise<NodeJS.MemoryUsage>> {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  return async () => {
    // Closing the decompressor takes a turn of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
    return process.memoryUsage();
  };
}

async function timeLoading() {
  const load: number[] = [];
  const total: number[] = [];
  const cpu: number[] = [];
  let set: ImageSet | undefined;
  for (let i = 0; i < 10; i++) {
    const start = performance.now();
    const startCpu = cpuTimeMs();
    set = await loadMnist({ split: "train" });
    load.push(performance.now() - start);
    const tensors = toTensors(set, { range: [0, 1] });
    total.push(performance.now() - start);
    cpu.push(cpuTimeMs() - startCpu);
    tf.dispose(tensors);
  }
  return {
    set: set!,
    load_ms_median: round(median(load), 1),
    load_ms_min: round(Math.min(...load), 1),
    load_to_tensors_ms_median: round(median(total), 1),
    load_to_tensors_ms_min: round(Math.min(...total), 1),
    load_to_tensors_cpu_ms_median: round(median(cpu), 1),
  };
}

/** Blocks of steps on one batch and on fresh ones in turn, so that a busy minute slows both alike. */
async function timeTraining(engine: Engine, set: ImageSet, request: BenchRequest) {
  const rng = new Rng(request.seed);
  const training = convVaeTraining(rng);
  const compiled = engine.compile(training.step);
  let { state } = training;
  const stream = batches(set, { batchSize, rng: rng.fork("batches"), range: [0, 1] });
  const fresh = async () => (await stream.next()).value!;
  const kept = await fresh();
  const step = async (x: tf.Tensor4D) => {
    const next = await compiled(state, x, rng);
    await next.loss.data();
    treeDispose(next.loss);
    state = replaceState(state, next.state);
  };
  const block = async (streamed: boolean) => {
    const start = performance.now();
    for (let i = 0; i < stepsPerBlock; i++) {
      const batch = streamed ? await fresh() : kept;
      await step(batch.images);
      if (streamed) treeDispose(batch);
    }
    return (performance.now() - start) / stepsPerBlock;
  };
  for (let i = 0; i < (request.warmup ?? 5); i++) await step(kept.images);
  const times = { kept: [] as number[], streamed: [] as number[] };
  const blocks = Math.max(1, Math.round((request.steps ?? 240) / (2 * stepsPerBlock)));
  for (let i = 0; i < blocks; i++) {
    times.kept.push(await block(false));
    times.streamed.push(await block(true));
  }
  // The stream by itself: what it may add at most.
  const start = performance.now();
  for (let i = 0; i < stream.batchesPerEpoch; i++) treeDispose(await fresh());
  const epoch = performance.now() - start;
  await stream.return();
  treeDispose([state, kept]);
  compiled.dispose();
  const ratio = median(times.streamed.map((ms, i) => ms / times.kept[i]!));
  return {
    step_ms_one_batch: round(median(times.kept), 2),
    step_ms_streamed: round(median(times.streamed), 2),
    stream_adds_percent: round(100 * (ratio - 1), 2),
    epoch_alone_ms: round(epoch, 1),
    epoch_alone_percent: round((100 * epoch) / (stream.batchesPerEpoch * median(times.kept)), 2),
  };
}
