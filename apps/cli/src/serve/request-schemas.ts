import { z } from "zod";
import { ApiError } from "./api-error.ts";

// What requests may say: OpenAI's fields, and a few of the samplers' that other servers know by the same names. Fields that
// nobody here knows are left out; those that would change the answer, and cannot, are refused.

const largest = 2 ** 31;
const count = z.int().min(1).max(largest);
const refused = (why: string) => z.null({ error: why }).optional();
const stopString = z
  .string()
  .min(1)
  .max(1000)
  .refine((text) => !/\p{Surrogate}/u.test(text));
const tokenIds = z.array(z.int().min(0).max(largest));

const sampling = {
  model: z.string().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(-1).max(largest).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  typical_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().max(1e3).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  seed: z.int().nullish(),
  n: z.int().min(1).max(128).nullish(),
  stop: z
    .union([stopString, z.array(stopString).max(16)], {
      error: "expected a string, or up to 16 strings, of 1 to 1000 characters",
    })
    .nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, "expected ids of tokens"), z.number().min(-100).max(100))
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
};

const completionSchema = z.object({
  ...sampling,
  prompt: z
    .union(
      [z.string(), z.array(z.string()).min(1).max(128), tokenIds.min(1), z.array(tokenIds.min(1)).min(1).max(128)],
      {
        error: "expected a string, up to 128 strings, a list of token ids, or up to 128 of them",
      },
    )
    .nullish(),
  max_tokens: z.int().min(0).max(largest).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  best_of: refused("this server does not choose the best of several; leave it out, and ask for n of them"),
  suffix: refused("this server cannot write what comes before a suffix; leave it out"),
});

const textPart = z.object({
  type: z.literal("text", { error: "this server reads text only; expected parts of type text" }),
  text: z.string(),
});

const messageSchema = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content: z
    .union([z.string(), z.array(textPart).max(1000)], {
      error: (issue) => (issue.input === undefined ? "expected text" : "expected a string or parts of type text"),
    })
    .nullish(),
  name: z.string().max(1000).nullish(),
});

const noTools = "this server calls no tools; leave it out";
const chatSchema = z.object({
  ...sampling,
  messages: z.array(messageSchema).min(1).max(10_000),
  max_completion_tokens: count.nullish(),
  max_tokens: count.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(z.unknown()).max(0, noTools).nullish(),
  tool_choice: z.literal("none", { error: noTools }).nullish(),
  functions: refused(noTools),
  function_call: refused(noTools),
  response_format: z
    .object({ type: z.literal("text", { error: "this server writes plain text only; expected type text" }) })
    .nullish(),
  audio: refused("this server writes plain text only; leave it out"),
});

export type SamplingRequest = z.infer<z.ZodObject<typeof sampling>>;
export type CompletionRequest = z.infer<typeof completionSchema>;
export type ChatRequest = z.infer<typeof chatSchema>;

/** @throws ApiError 400 naming the first field that does not fit. */
export const readCompletionRequest = (body: unknown): CompletionRequest => read(completionSchema, body);

/** @throws ApiError 400 naming the first field that does not fit. */
export const readChatRequest = (body: unknown): ChatRequest => read(chatSchema, body);

function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const { success, data, error } = schema.safeParse(body);
  if (success) return data;
  const { path, message } = error.issues[0]!;
  const param = path.reduce<string>(
    (name, part) => (typeof part === "number" ? `${name}[${part}]` : `${name}${name === "" ? "" : "."}${String(part)}`),
    "",
  );
  const what = message.replace(/^Invalid input: /, "");
  throw new ApiError(400, param === "" ? `The body: ${what}.` : `${param}: ${what}.`, {
    param: param === "" ? null : param,
    code: "invalid_value",
  });
}
