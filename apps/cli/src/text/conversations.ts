import { readFile } from "node:fs/promises";
import { Rng } from "@genai/core";
import type { ChatMessage, Tokenizer } from "@genai/tokenizer";
import { joinParts, type PreferencePair, type TextPart, type TokenDocument } from "@genai/transformer";
import { UsageError } from "../exit-code.ts";
import { encodeText } from "./text-vocabulary.ts";

// Data to fine-tune on, one JSON object on each line: questions with answers, conversations, or answers of which one is
// liked better. They become ids with marks at what is to be learned.

/** A question with its answer, or a conversation. */
export type Conversation =
  | { readonly prompt: string; readonly completion: string }
  | { readonly messages: readonly ChatMessage[] };

/** A question with a better and a worse answer. */
export interface Preference {
  readonly chosen: Conversation;
  readonly rejected: Conversation;
}

export type JsonlFormat = "instructions" | "preferences";

/** Fields of a line, as far as any format has them. */
type Fields = Readonly<Record<string, unknown>>;

const expected: Record<JsonlFormat, string> = {
  instructions:
    '{"prompt", "completion"}, {"messages": [{"role", "content"}]} or {"instruction", "input", "output"}, with texts in them',
  preferences: '{"prompt", "chosen", "rejected"}, the answers texts or lists of messages',
};

/** Reads a file of JSON lines. @throws UsageError naming the first line that is no object */
export async function readJsonLines(file: string): Promise<Fields[]> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "cannot be read as UTF-8 text";
    throw new UsageError(`--data ${file} ${why}`);
  }
  const records: Fields[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new UsageError(`${file}:${i + 1} is no JSON; expected one object on each line`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new UsageError(`${file}:${i + 1} is no JSON object; expected one on each line`);
    }
    records.push(value as Fields);
  }
  if (records.length === 0) throw new UsageError(`${file} holds no lines; expected JSON objects`);
  return records;
}

/** What the first line of a file is; undefined if it is neither. */
export const formatOf = (record: Fields): JsonlFormat | undefined =>
  "chosen" in record ? "preferences" : conversationsOf(record) ? "instructions" : undefined;

/** The conversations of lines; a line of Self-Instruct holds several. @throws UsageError naming the line that has none */
export function parseConversations(file: string, records: readonly Fields[]): Conversation[] {
  return records.flatMap((record, i) => conversationsOf(record) ?? refuse(file, i, "instructions"));
}

/** @throws UsageError naming the line that is no preference */
export function parsePreferences(file: string, records: readonly Fields[]): Preference[] {
  return records.map(({ prompt, chosen, rejected }, i) => {
    const side = (answer: unknown): Conversation => {
      if (typeof prompt === "string" && typeof answer === "string") return { prompt, completion: answer };
      const before = isMessages(prompt)
        ? prompt
        : typeof prompt === "string"
          ? [{ role: "user", content: prompt }]
          : [];
      const after = typeof answer === "string" ? [{ role: "assistant", content: answer }] : answer;
      if ((prompt !== undefined && before.length === 0) || !isMessages(after)) return refuse(file, i, "preferences");
      // Published sets repeat the question in front of both answers.
      const repeated = before.every(({ role, content }, n) => after[n]?.role === role && after[n]?.content === content);
      return { messages: repeated ? after : [...before, ...after] };
    };
    return { chosen: side(chosen), rejected: side(rejected) };
  });
}

function refuse(file: string, index: number, format: JsonlFormat): never {
  throw new UsageError(`${file}: record ${index + 1} is not understood; expected ${expected[format]}`);
}

const isText = (value: unknown): value is string => typeof value === "string";
const isMessages = (value: unknown): value is ChatMessage[] =>
  Array.isArray(value) && value.length > 0 && value.every((m) => isText(m?.role) && isText(m?.content));

function conversationsOf(record: Fields): Conversation[] | undefined {
  const { prompt, completion, messages, instruction, input = "", output, instances } = record;
  if (isText(prompt) && isText(completion)) return [{ prompt, completion }];
  if (isMessages(messages)) return [{ messages }];
  if (!isText(instruction)) return undefined;
  const list: unknown = instances ?? [{ input, output }];
  if (!Array.isArray(list) || list.length === 0) return undefined;
  const asked = list.map((one: Fields | null) => {
    const { input = "", output } = one ?? {};
    if (!isText(input) || !isText(output)) return undefined;
    return { prompt: alpacaPrompt(instruction, input), completion: output };
  });
  return asked.every((one) => one !== undefined) ? asked : undefined;
}

/** The layout of Stanford's Alpaca (2023), which many base models have been tuned with. */
const alpacaPrompt = (instruction: string, input: string): string =>
  `### Instruction:\n${instruction}\n\n${input.trim() === "" ? "" : `### Input:\n${input}\n\n`}### Response:\n`;

/** A conversation as ids. */
export interface EncodedConversation {
  readonly document: TokenDocument;
  /** What comes before the last answer. */
  readonly prompt: Int32Array;
}

/**
 * Encodes a conversation with the tokenizer's chat template; without one a question and its answer follow each other as
 * they are, and `endId` ends them. Answers are learned.
 *
 * @throws UsageError if messages have no template, no answer, or a template that rewrites what came before
 */
export async function encodeConversation(
  tokenizer: Tokenizer,
  conversation: Conversation,
  endId: number | undefined,
): Promise<EncodedConversation> {
  const hasTemplate = tokenizer.config.chat_template !== undefined;
  if ("prompt" in conversation && !hasTemplate) {
    const prompt = encode(tokenizer, conversation.prompt, true);
    const answer = encode(tokenizer, conversation.completion, false);
    const end = endId === undefined ? encode(tokenizer, "\n", false) : Int32Array.of(endId);
    const parts = [
      { ids: prompt, learned: false },
      { ids: answer, learned: true },
      { ids: end, learned: true },
    ];
    return { document: joinParts(parts), prompt };
  }
  if (!hasTemplate) {
    throw new UsageError(
      'The model\'s tokenizer has no chat template, which messages need; give {"prompt", "completion"} instead',
    );
  }
  const messages =
    "messages" in conversation
      ? conversation.messages
      : [
          { role: "user", content: conversation.prompt },
          { role: "assistant", content: conversation.completion },
        ];
  const parts: TextPart[] = [];
  let read: Int32Array = new Int32Array();
  let prompt: Int32Array = read;
  for (const [i, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    prompt = await tokenizer.encodeChat(messages.slice(0, i), { addGenerationPrompt: true });
    const answered = await tokenizer.encodeChat(messages.slice(0, i + 1));
    if (!startsWith(prompt, read) || !startsWith(answered, prompt)) throw rewritten();
    parts.push(
      { ids: prompt.slice(read.length), learned: false },
      { ids: answered.slice(prompt.length), learned: true },
    );
    read = answered;
  }
  if (parts.length === 0)
    throw new UsageError("A conversation has no message of the assistant, which is what is learned");
  return { document: joinParts(parts), prompt };
}

const rewritten = () =>
  new UsageError(
    "The tokenizer's chat template writes the beginning of a conversation differently once it has gone on, so that its " +
      "answers cannot be told from what is read",
  );

const startsWith = (ids: Int32Array, head: Int32Array) =>
  head.length <= ids.length && head.every((id, i) => id === ids[i]);

const encode = (tokenizer: Tokenizer, text: string, addSpecialTokens: boolean): Int32Array =>
  encodeText(tokenizer, text, { addSpecialTokens, what: "--data" });

/** Items to learn from and items to measure with: a tenth, at most 500, at least one, drawn by a fixed seed. */
export function splitItems<T>(items: readonly T[]): { readonly train: T[]; readonly validation: T[] } {
  const held = Math.min(500, Math.max(1, Math.floor(items.length / 10)));
  const order = [...new Rng(0).fork("split").draw({ kind: "permutation", size: items.length })];
  return { validation: order.slice(0, held).map((i) => items[i]!), train: order.slice(held).map((i) => items[i]!) };
}

/** A pair of conversations as ids. */
export async function encodePreference(
  tokenizer: Tokenizer,
  { chosen, rejected }: Preference,
  endId: number | undefined,
): Promise<{ readonly pair: PreferencePair; readonly prompt: Int32Array }> {
  const [better, worse] = [
    await encodeConversation(tokenizer, chosen, endId),
    await encodeConversation(tokenizer, rejected, endId),
  ];
  return { pair: { chosen: better.document, rejected: worse.document }, prompt: better.prompt };
}
