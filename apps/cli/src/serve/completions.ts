import type { Tokenizer } from "@genai/tokenizer";
import { answerHead, finiteLogProb, tokenText, UsageCount, wholeTexts } from "./answer.ts";
import { ApiError } from "./api-error.ts";
import { begun, eventStream } from "./event-stream.ts";
import { readCompletionRequest } from "./request-schemas.ts";
import type { RequestScope } from "./request-scope.ts";
import type { TextPart, TextService } from "./text-service.ts";

/** OpenAI's default for `max_tokens` of completions. */
const standardTokens = 16;

/** POST /v1/completions */
export async function complete(service: TextService, body: unknown, scope: RequestScope): Promise<Response> {
  const request = readCompletionRequest(body);
  const { tokenizer, name } = service.model;
  if (request.echo && typeof request.logprobs === "number") {
    throw new ApiError(400, "echo with logprobs: this server gives log-probabilities of new tokens only.", {
      param: "logprobs",
    });
  }
  const given = promptsOf(request.prompt ?? "");
  const prompts = given.map((prompt) => service.promptIds(prompt, "prompt"));
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const maxNewTokens = service.newTokens(longest, request.max_tokens, standardTokens, "max_tokens");
  const likeliest = request.logprobs ?? -1;
  const n = request.n ?? 1;
  const echoes = given.map((prompt) =>
    !request.echo ? "" : typeof prompt === "string" ? prompt : tokenizer.decode(prompt, { skipSpecialTokens: false }),
  );
  const echoOf = (index: number) => echoes[Math.floor(index / n)]!;
  const count = new UsageCount(
    scope,
    prompts.reduce((sum, prompt) => sum + prompt.length, 0),
  );
  const parts = service.write(prompts, request, { maxNewTokens, likeliest, signal: scope.signal });
  const head = answerHead("cmpl", "text_completion", name);

  if (!request.stream) {
    const texts = await wholeTexts(parts, prompts.length * n, () => count.add());
    scope.end();
    return Response.json({
      ...head,
      choices: texts.map(({ text, finish, parts }, index) => ({
        text: echoOf(index) + text,
        index,
        logprobs: likeliest < 0 ? null : logProbsOf(tokenizer, parts, likeliest),
        finish_reason: finish,
      })),
      usage: count.usage,
    });
  }

  const withUsage = request.stream_options?.include_usage === true;
  async function* chunks() {
    const offsets = prompts.flatMap(() => Array<number>(n).fill(0));
    const begun = new Set<number>();
    for await (const part of parts) {
      count.add();
      const { index, finish } = part;
      const offset = offsets[index]!;
      offsets[index] = offset + part.text.length;
      const text = (begun.has(index) ? "" : echoOf(index)) + part.text;
      begun.add(index);
      if (text === "" && !finish && likeliest < 0) continue;
      const logprobs = likeliest < 0 ? null : logProbsOf(tokenizer, [{ part, offset }], likeliest);
      yield {
        ...head,
        choices: [{ text, index, logprobs, finish_reason: finish ?? null }],
        ...(withUsage && { usage: null }),
      };
    }
    if (withUsage) yield { ...head, choices: [], usage: count.usage };
  }
  return eventStream(await begun(chunks()), (error) => scope.end(error));
}

type Prompts = NonNullable<ReturnType<typeof readCompletionRequest>["prompt"]>;

function promptsOf(prompt: Prompts): readonly (string | readonly number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as string[] | number[][]);
}

function logProbsOf(
  tokenizer: Tokenizer,
  parts: readonly { readonly part: TextPart; readonly offset: number }[],
  likeliest: number,
) {
  const shown = parts.filter(({ part }) => part.shown);
  return {
    tokens: shown.map(({ part }) => tokenText(tokenizer, part.token.id)),
    token_logprobs: shown.map(({ part }) => finiteLogProb(part.token.logProb!)),
    top_logprobs:
      likeliest === 0
        ? null
        : shown.map(({ part }) =>
            Object.fromEntries(
              part.token.likeliest!.map(({ id, logProb }) => [tokenText(tokenizer, id), finiteLogProb(logProb)]),
            ),
          ),
    text_offset: shown.map(({ offset }) => offset),
  };
}
