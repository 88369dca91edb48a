import { countParams, type GroupSize, Rng, type Tree, treeDispose, treeLeaves, type WeightFormat } from "@genai/core";
import {
  type CausalLm,
  convertLm,
  createDecoder,
  createGpt2,
  createLlama,
  generate,
  gpt2Lm,
  gpt2Presets,
  llamaLm,
} from "@genai/transformer";
import type { EngineBenchJob } from "./job.ts";
import { median, peakRssMib, round } from "./measure.ts";

// Greedy decoding with a cache: the counterpart of torch/gpt_generate.py. A step is one new token, with everything that a
// caller waits for: the draw, the id on the host, the yield.

const PROMPT = 64;
const NEW = 128;

interface Preset {
  readonly name: string;
  readonly summary: string;
  readonly create: (rng: Rng) => { lm: CausalLm; params: Tree };
}

const gpt2Small: Preset = {
  name: "gen_gpt2",
  summary: "GPT-2 124M",
  create: (rng) => {
    const { config, params } = createGpt2({ ...gpt2Presets.gpt2, dropout: 0 }, rng);
    return { lm: gpt2Lm(config) as CausalLm, params };
  },
};

const llama15m: Preset = {
  name: "gen_llama",
  summary: "Llama 15M",
  create: (rng) => {
    const sizes = { vocabSize: 32000, blockSize: 256, nEmbd: 288, nHead: 6, nLayer: 6, nInner: 768 };
    const { config, params } = createLlama({ ...sizes, rmsNormEps: 1e-5, tieWordEmbeddings: true }, rng);
    return { lm: llamaLm(config) as CausalLm, params };
  },
};

/** How weights are held. */
interface Form {
  /** Of the job, behind the preset's. */
  readonly suffix: string;
  readonly summary: string;
  readonly format: WeightFormat;
  readonly groupSize?: GroupSize;
}

const forms: readonly Form[] = [
  { suffix: "", summary: "32-bit weights", format: "panels" },
  { suffix: "_int8", summary: "8-bit weights", format: "int8" },
  // How genai quantize --calibrate rounds, and how it does without; the speed is that of any weights.
  { suffix: "_int4", summary: "4-bit weights in groups of 128", format: "int4", groupSize: 128 },
  { suffix: "_int4_64", summary: "4-bit weights in groups of 64", format: "int4", groupSize: 64 },
];

function generateJob(preset: Preset, { suffix, summary, format, groupSize }: Form): EngineBenchJob {
  return {
    name: `${preset.name}${suffix}`,
    summary: `decoding, ${preset.summary}, ${summary}, batch 1, prompt ${PROMPT}, ${NEW} new tokens`,
    async run(engine, request) {
      const rng = new Rng(request.seed);
      const plain = preset.create(rng);
      const count = countParams(plain.params);
      const { lm, params } = await convertLm(plain.lm, plain.params, {
        format,
        ...(groupSize && { groupSize }),
        consume: true,
      });
      const decoder = createDecoder(engine, lm);
      const prompt = rng.draw({ kind: "integers", size: PROMPT, low: 0, high: 1000 });
      const maxNewTokens = request.steps ?? NEW;
      const whole = async () => {
        const times: number[] = [];
        let last = performance.now();
        for await (const _ of generate(engine, lm, params, [prompt], { maxNewTokens, decoder })) {
          const now = performance.now();
          times.push(now - last);
          last = now;
        }
        return times;
      };
      // Compiles both graphs, and touches all memory once.
      for await (const { index } of generate(engine, lm, params, [prompt], { maxNewTokens, decoder })) {
        if (index === (request.warmup ?? 4)) break;
      }
      const runs = [await whole(), await whole()];
      decoder.dispose();
      const bytes = treeLeaves(params).reduce((n, t) => n + t.size * 4, 0);
      treeDispose(params);
      const prefill = runs.map((times) => times[0]!);
      const tokens = runs.flatMap((times) => times.slice(1));
      const quarter = Math.ceil((maxNewTokens - 1) / 4);
      const total = Math.min(...runs.map((times) => times.reduce((a, b) => a + b, 0)));
      return {
        bench: `generate_${preset.name.slice("gen_".length)}`,
        engine: engine.name,
        threads: request.threads,
        weights: format,
        ...(groupSize && { group_size: groupSize }),
        weights_mib: round(bytes / 2 ** 20, 1),
        batch: 1,
        prompt: PROMPT,
        new: maxNewTokens,
        params: count,
        prefill_ms_median: round(median(prefill), 2),
        prefill_ms_min: round(Math.min(...prefill), 2),
        token_ms_median: round(median(tokens), 3),
        token_ms_min: round(Math.min(...tokens), 3),
        // Flat in position as long as attention does not dominate.
        token_ms_first_quarter: round(median(runs.flatMap((times) => times.slice(1, 1 + quarter))), 3),
        token_ms_last_quarter: round(median(runs.flatMap((times) => times.slice(-quarter))), 3),
        tokens_per_s: round(1000 / median(tokens), 2),
        tokens_per_s_best: round(1000 / Math.min(...tokens), 2),
        tokens_per_s_overall: round((1000 * maxNewTokens) / total, 2),
        peak_rss_mib: peakRssMib(),
      };
    },
  };
}

export const generateJobs: readonly EngineBenchJob[] = [gpt2Small, llama15m].flatMap((preset) =>
  forms.map((form) => generateJob(preset, form)),
);
