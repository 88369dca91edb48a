import { TextStream, type Tokenizer } from "@genai/tokenizer";
import type { PromptScore } from "@genai/transformer";
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
  const { echo = false } = request;
  const writesNothing = request.max_tokens === 0;
  if (writesNothing && !echo) {
    throw new ApiError(400, "max_tokens: 0 new tokens are an answer with echo only, which gives the prompt back.", {
      param: "max_tokens",
    });
  }
  const given = promptsOf(request.prompt ?? "");
  const prompts = given.map((prompt) => service.promptIds(prompt, "prompt"));
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const maxNewTokens = service.newTokens(longest, request.max_tokens, standardTokens, ["max_tokens", "prompt"]);
  const likeliest = request.logprobs ?? -1;
  const n = request.n ?? 1;
  const echoes = given.map((prompt) =>
    !echo ? "" : typeof prompt === "string" ? prompt : tokenizer.decode(prompt, { skipSpecialTokens: false }),
  );
  const echoOf = (index: number) => echoes[Math.floor(index / n)]!;
  const count = new UsageCount(
    scope,
    prompts.reduce((sum, prompt) => sum + prompt.length, 0),
    n,
  );
  const written = service.write(prompts, request, {
    maxNewTokens: Math.max(1, maxNewTokens),
    likeliest,
    promptScores: Boolean(echo) && likeliest >= 0,
    signal: scope.signal,
  });
  const parts = writesNothing ? withoutTokens(written) : written;
  const promptOf = (index: number) => prompts[Math.floor(index / n)]!;
  const head = answerHead("cmpl", "text_completion", name);

  if (!request.stream) {
    const texts = await wholeTexts(parts, prompts.length * n, (part) => {
      if (!writesNothing) count.add(part);
    });
    scope.end();
    return Response.json({
      ...head,
      choices: texts.map(({ text, finish, parts }, index) => ({
        text: echoOf(index) + text,
        index,
        logprobs: likeliest < 0 ? null : logProbsOf(tokenizer, parts, likeliest, echoOf(index).length, promptOf(index)),
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
      if (!writesNothing) count.add(part);
      const { index, finish } = part;
      const offset = offsets[index]!;
      offsets[index] = offset + part.text.length;
      const text = (begun.has(index) ? "" : echoOf(index)) + part.text;
      const before = echoOf(index).length;
      begun.add(index);
      if (text === "" && !finish && likeliest < 0) continue;
      const logprobs =
        likeliest < 0 ? null : logProbsOf(tokenizer, [{ part, offset }], likeliest, before, promptOf(index));
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

/** Texts of no tokens, of which the scores of their prompts are wanted. */
async function* withoutTokens(parts: AsyncIterable<TextPart>): AsyncGenerator<TextPart> {
  for await (const part of parts) yield { ...part, text: "", shown: false, finish: "length" };
}

type ScoredToken = Pick<PromptScore, "id" | "likeliest"> & { readonly logProb: number | null };

/** @param before characters of the answer before the text: the echo, of which the first part has the scores */
function logProbsOf(
  tokenizer: Tokenizer,
  parts: readonly { readonly part: TextPart; readonly offset: number }[],
  likeliest: number,
  before: number,
  prompt: readonly number[],
) {
  const tokens: { readonly token: ScoredToken; readonly offset: number }[] = [];
  for (const { part, offset } of parts) {
    const { promptScores, id, logProb } = part.token;
    if (promptScores) {
      const stream = new TextStream(tokenizer);
      let length = 0;
      // Nothing comes before the first token, so that nobody can say how likely it was.
      for (const token of [{ id: prompt[0]!, logProb: null }, ...promptScores]) {
        tokens.push({ token, offset: Math.min(length, before) });
        length += stream.push(token.id).length;
      }
    }
    if (part.shown) {
      const list = part.token.likeliest;
      tokens.push({ token: { id, logProb: logProb!, ...(list && { likeliest: list }) }, offset: before + offset });
    }
  }
  const listOf = ({ likeliest: list }: ScoredToken) =>
    list ? Object.fromEntries(list.map(({ id, logProb }) => [tokenText(tokenizer, id), finiteLogProb(logProb)])) : null;
  return {
    tokens: tokens.map(({ token }) => tokenText(tokenizer, token.id)),
    token_logprobs: tokens.map(({ token }) => (token.logProb === null ? null : finiteLogProb(token.logProb))),
    top_logprobs: likeliest === 0 ? null : tokens.map(({ token }) => listOf(token)),
    text_offset: tokens.map(({ offset }) => offset),
  };
}
