import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine, type Engine, Rng, treeDispose, treeMap } from "@genai/core";
import { createByteTokenizer } from "@genai/tokenizer";
import { createBatchScheduler, createGpt2, savePretrained } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { type Answered, createServeApp, type ServeAppOptions } from "../../src/serve/app.ts";
import { listen } from "../../src/serve/listen.ts";
import { TextService } from "../../src/serve/text-service.ts";
import { openTextModel, type TextModel } from "../../src/text/text-model.ts";

export const chatTemplate =
  "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}" +
  "{% if messages[0].content == 'refuse' %}{{ raise_exception('No such talk.') }}{% endif %}" +
  "{% if add_generation_prompt %}<|assistant|>{% endif %}";

/** Writes a folder with a tiny GPT-2 that reads bytes; its weights are large, so that its tokens differ in probability. */
export async function tinyModelFolder(options: { readonly template?: string } = {}): Promise<string> {
  await tf.setBackend("cpu");
  const folder = join(mkdtempSync(join(tmpdir(), "genai-serve-")), "tiny");
  const specialTokens = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];
  const config = { vocabSize: 260, blockSize: 96, nEmbd: 8, nHead: 2, nLayer: 1 };
  const model = createGpt2(config, new Rng(0));
  const params = treeMap(model.params, (x) => (x.rank === 2 ? tf.mul(x, 20) : x.clone()));
  await savePretrained(folder, { architecture: "gpt2", config: model.config, params });
  treeDispose([model.params, params]);
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(createByteTokenizer({ specialTokens }).toJson()));
  const tokenizerConfig = { eos_token: "<|end|>", ...(options.template && { chat_template: options.template }) };
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
  return folder;
}

export interface TinyServer {
  readonly url: string;
  readonly engine: Engine;
  readonly model: TextModel;
  readonly service: TextService;
  readonly log: readonly Answered[];
  /** POSTs JSON. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Resolves once nothing runs and nothing waits. */
  idle(): Promise<void>;
  close(graceSeconds?: number): Promise<void>;
}

export async function tinyServer(
  folder: string,
  options: ServeAppOptions & {
    readonly maxRows?: number;
    readonly maxQueue?: number;
    readonly maxNewTokens?: number;
    readonly change?: (model: TextModel) => TextModel;
  } = {},
): Promise<TinyServer> {
  const { maxRows = 4, maxQueue = 64, maxNewTokens = 90, change = (model) => model, ...appOptions } = options;
  const engine = await createEngine("onnx:cpu");
  const model = change(await openTextModel(folder));
  const scheduler = createBatchScheduler(engine, model.lm, model.params, { maxRows, maxQueue });
  const service = new TextService(model, scheduler, maxNewTokens);
  const log: Answered[] = [];
  const app = createServeApp(service, { ...appOptions, onAnswered: (answered) => log.push(answered) });
  const server = await listen(app, "127.0.0.1", 0);
  return {
    url: server.url,
    engine,
    model,
    service,
    log,
    post: (path, body, init = {}) =>
      fetch(`${server.url}${path}`, {
        method: "POST",
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...init,
        headers: { "content-type": "application/json", ...init.headers },
      }),
    async idle() {
      while (scheduler.running + scheduler.waiting + app.active > 0) await new Promise((then) => setTimeout(then, 5));
      // The loop frees a row after the step that is under way.
      await new Promise((then) => setTimeout(then, 50));
    },
    async close(graceSeconds = 0) {
      await server.close(graceSeconds);
      await scheduler.dispose();
      model.dispose();
      engine.dispose();
    },
  };
}
