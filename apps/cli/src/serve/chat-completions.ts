import type { ChatMessage, Tokenizer } from "@genai/tokenizer";
import { answerHead, finiteLogProb, tokenText, UsageCount, wholeTexts } from "./answer.ts";
import { ApiError } from "./api-error.ts";
import { begun, eventStream } from "./event-stream.ts";
import { type ChatRequest, readChatRequest } from "./request-schemas.ts";
import type { RequestScope } from "./request-scope.ts";
import type { TextPart, TextService } from "./text-service.ts";

/** POST /v1/chat/completions */
export async function completeChat(
  service: TextService,
  body: unknown,
  scope: RequestScope,
  template: string | undefined,
): Promise<Response> {
  const request = readChatRequest(body);
  const { tokenizer, name, chatTemplate } = service.model;
  if (!chatTemplate && template === undefined) {
    throw new ApiError(
      400,
      `The model ${name} has no chat template, so it cannot tell who says what. Use /v1/completions, or start the server ` +
        "with --chat-template FILE.",
      { code: "no_chat_template" },
    );
  }
  const prompt = await chatIds(tokenizer, request, template);
  const asked = request.max_completion_tokens ?? request.max_tokens;
  const param = request.max_completion_tokens ? "max_completion_tokens" : "max_tokens";
  const maxNewTokens = service.newTokens(prompt.length, asked, Number.POSITIVE_INFINITY, [param, "messages"]);
  const likeliest = request.logprobs ? (request.top_logprobs ?? 0) : -1;
  const n = request.n ?? 1;
  const count = new UsageCount(scope, prompt.length, n);
  const parts = service.write([prompt], request, { maxNewTokens, likeliest, signal: scope.signal });
  const logProbsOf = (parts: readonly TextPart[]) =>
    likeliest < 0
      ? null
      : { content: parts.filter(({ shown }) => shown).map((part) => logProbOf(tokenizer, part)), refusal: null };

  if (!request.stream) {
    const texts = await wholeTexts(parts, n, (part) => count.add(part));
    scope.end();
    return Response.json({
      ...answerHead("chatcmpl", "chat.completion", name),
      choices: texts.map(({ text, finish, parts }, index) => ({
        index,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: logProbsOf(parts.map(({ part }) => part)),
        finish_reason: finish,
      })),
      usage: count.usage,
    });
  }

  const head = answerHead("chatcmpl", "chat.completion.chunk", name);
  const withUsage = request.stream_options?.include_usage === true;
  const chunk = (index: number, delta: object, logprobs: object | null = null, finish: string | null = null) => ({
    ...head,
    choices: [{ index, delta, logprobs, finish_reason: finish }],
    ...(withUsage && { usage: null }),
  });
  async function* chunks() {
    const begun = new Set<number>();
    for await (const part of parts) {
      count.add(part);
      const { index, text, finish } = part;
      if (!begun.has(index)) yield chunk(index, { role: "assistant", content: "" });
      begun.add(index);
      if (text !== "" || likeliest >= 0) yield chunk(index, { content: text }, logProbsOf([part]));
      if (finish) yield chunk(index, {}, null, finish);
    }
    if (withUsage) yield { ...head, choices: [], usage: count.usage };
  }
  return eventStream(await begun(chunks()), (error) => scope.end(error));
}

async function chatIds(tokenizer: Tokenizer, request: ChatRequest, template: string | undefined): Promise<number[]> {
  const messages = request.messages.map(
    ({ role, content, name }): ChatMessage => ({
      // Templates know the older name.
      role: role === "developer" ? "system" : role,
      content: Array.isArray(content) ? content.map(({ text }) => text).join("\n") : (content ?? ""),
      ...(name && { name }),
    }),
  );
  try {
    const options = { addGenerationPrompt: true, ...(template !== undefined && { template }) };
    return [...(await tokenizer.encodeChat(messages, options))];
  } catch (error) {
    // Templates refuse conversations that they cannot write, such as two answers in a row.
    const why = (error instanceof Error ? error.message : String(error)).replace(/^encodeChat: /, "");
    throw new ApiError(400, `The chat template refuses the messages: ${why}`, {
      param: "messages",
      code: "chat_template",
      cause: error,
    });
  }
}

function logProbOf(tokenizer: Tokenizer, { token }: TextPart) {
  const entry = (id: number, logProb: number) => {
    const text = tokenText(tokenizer, id);
    return { token: text, logprob: finiteLogProb(logProb), bytes: [...new TextEncoder().encode(text)] };
  };
  return {
    ...entry(token.id, token.logProb!),
    top_logprobs: (token.likeliest ?? []).map(({ id, logProb }) => entry(id, logProb)),
  };
}
