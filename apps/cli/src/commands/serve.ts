import { createBatchScheduler } from "@genai/transformer";
import type { Command } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { collected, nonNegativeNumber, positiveNumber, wholeNumber } from "../option-parsers.ts";
import { formatCount } from "../run/progress.ts";
import { bold, dim, printJson, printLine, printNote, red } from "../terminal.ts";
import { type ChatTemplateFlags, chatTemplateOption, readChatTemplate } from "../text/chat-template.ts";
import { type ModelFlags, modelArgument, modelFlags, openWritingModel } from "../text/writing-model.ts";

interface ServeFlags extends ModelFlags, ChatTemplateFlags {
  readonly host: string;
  readonly port: number;
  readonly apiKey?: readonly string[];
  readonly maxBatch: number;
  readonly maxQueue: number;
  readonly prefixCache: number;
  readonly maxTokens: number;
  readonly context?: number;
  readonly timeout: number;
  readonly maxBody: number;
  readonly grace: number;
  readonly cors?: readonly string[];
  readonly name?: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Adds `genai serve MODEL`. */
export function addServe(program: Command): void {
  const command = program
    .command("serve")
    .description("answer OpenAI's HTTP API with a language model: completions, chats, streams")
    .argument("<model>", modelArgument)
    .option("--host <address>", "address to listen on; 0.0.0.0 lets other machines in", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 takes any that is free", wholeNumber(0), 8080)
    .option(
      "--api-key <key>",
      "ask every request for this key (may be given several times; GENAI_API_KEY too)",
      collected,
    )
    .option("--max-batch <n>", "requests that are written at once", wholeNumber(1), 8)
    .option(
      "--prefix-cache <MiB>",
      "memory for texts that were read, from which prompts that begin alike go on; 0 keeps none",
      wholeNumber(0),
      256,
    )
    .option("--max-queue <n>", "requests that may wait; others are answered 429", wholeNumber(0), 64)
    .option("--max-tokens <n>", "most new tokens that a request may ask for", wholeNumber(1), 1024)
    .option(
      "--context <n>",
      "most tokens of a request, prompt and answer (default: the model's context)",
      wholeNumber(2),
    )
    .option("--timeout <seconds>", "most time for a request, its wait included", positiveNumber, 600)
    .option("--max-body <bytes>", "most bytes of a request", wholeNumber(1), 2 ** 22)
    .option("--grace <seconds>", "time for requests under way when the server is stopped", nonNegativeNumber, 10)
    .option("--cors <origin>", "let pages of this origin call, or * for all (may be given several times)", collected)
    .addOption(chatTemplateOption())
    .option("--name <name>", "what requests call the model (default: the last part of its path)")
    .option("--quiet", "print no line for each request")
    .option("--json", "print the address, and each request, as one JSON object a line");
  for (const option of modelFlags()) command.addOption(option);
  command
    .addHelpText(
      "after",
      `
GET  /v1/models            POST /v1/completions
GET  /health               POST /v1/chat/completions

Requests that come at the same time are written in one batch, each with its own options. Ctrl-C answers those under way and
stops; a second one stops at once.

Examples:
  genai serve runs/first
  genai serve hf:HuggingFaceTB/SmolLM2-135M-Instruct --port 9000 --max-batch 16
  genai serve runs/first --host 0.0.0.0 --api-key "$KEY" --timeout 60
  curl http://127.0.0.1:8080/v1/completions -H 'content-type: application/json' \\
       -d '{"prompt": "ROMEO:", "max_tokens": 50, "stream": true}'
${exitCodeHelp}`,
    )
    .action(serve);
}

async function serve(path: string, flags: ServeFlags): Promise<void> {
  const template = await readChatTemplate(flags);
  // Only this command needs the HTTP framework.
  const [{ createServeApp }, { listen }, { TextService }] = await Promise.all([
    import("../serve/app.ts"),
    import("../serve/listen.ts"),
    import("../serve/text-service.ts"),
  ]);
  const { json = false, quiet = false } = flags;
  const { model: opened, engine } = await openWritingModel(path, flags);
  const model = { ...opened, name: flags.name ?? opened.name };
  const { blockSize } = model.lm;
  if (flags.context !== undefined && flags.context > blockSize) {
    throw new UsageError(`--context ${flags.context} is more than the model's context of ${blockSize} tokens`);
  }
  const scheduler = createBatchScheduler(engine, model.lm, model.params, {
    maxRows: flags.maxBatch,
    maxQueue: flags.maxQueue,
    maxTokens: flags.context ?? blockSize,
    prefixCache: { maxBytes: flags.prefixCache * 2 ** 20 },
  });
  try {
    const service = new TextService(model, scheduler, flags.maxTokens);
    const keys = [...(flags.apiKey ?? []), ...(process.env.GENAI_API_KEY ? [process.env.GENAI_API_KEY] : [])];
    const app = createServeApp(service, {
      apiKeys: keys,
      origins: flags.cors ?? [],
      maxBodyBytes: flags.maxBody,
      timeoutSeconds: flags.timeout,
      ...(template !== undefined && { chatTemplate: template }),
      onAnswered: quiet ? () => {} : json ? printJson : (answered) => printNote(logLine(answered)),
    });
    const server = await listen(app, flags.host, flags.port);
    const stopped = stopSignal();
    if (json) printJson({ url: server.url, model: model.name, engine: engine.name, context: scheduler.maxTokens });
    else {
      const size = `${formatCount(model.countParams)} parameters, context ${scheduler.maxTokens}, ${engine.name}`;
      printLine(`Serving ${bold(model.name)} (${size})`);
      printLine(`  ${server.url}/v1`);
      if (!model.chatTemplate && template === undefined) {
        printLine(dim("  no chat template: /v1/completions only, unless you give --chat-template FILE"));
      }
      if (!isLocal(flags.host) && keys.length === 0) {
        printNote(`Whoever reaches ${flags.host}:${flags.port} can use the model; --api-key asks for a key`);
      }
    }
    await stopped;
    if (!json) {
      const under = app.active > 0 ? `, ${app.active} requests under way` : "";
      printNote(dim(`Stopping${under}; Ctrl-C again stops at once`));
    }
    await server.close(flags.grace);
  } finally {
    await scheduler.dispose();
    model.dispose();
    engine.dispose();
  }
}

/** Resolves at the first Ctrl-C or SIGTERM; the second ends the process. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = () => {
      if (asked) process.exit(130);
      asked = true;
      resolve();
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
  });
}

const isLocal = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");

interface Answered {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly milliseconds: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly newTokens: number;
  readonly error?: string;
}

function logLine(answered: Answered): string {
  const { method, path, status, milliseconds, promptTokens, cachedTokens, newTokens, error } = answered;
  const time = new Date().toTimeString().slice(0, 8);
  const known = cachedTokens > 0 ? ` (${cachedTokens} cached)` : "";
  const seconds = (milliseconds / 1000).toFixed(2);
  const rate = newTokens > 0 ? `, ${(newTokens / (milliseconds / 1000)).toFixed(0)} tokens/s` : "";
  const line = `${time} ${status} ${method} ${path}  ${promptTokens}${known} + ${newTokens} tokens, ${seconds} s${rate}`;
  return error === undefined ? dim(line) : `${status >= 500 ? red(line) : line}  ${error}`;
}
