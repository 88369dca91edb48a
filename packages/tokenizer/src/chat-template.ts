import type { ChatGuard, GuardedText } from "./chat-guard.ts";
import { takeMarkers, unusedCharacter } from "./chat-guard.ts";

/** One message of a conversation. Templates may read further fields, such as `tool_calls`. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

export interface ChatTemplateOptions {
  /** A Jinja template, or the name of one where the tokenizer has several. Default: the tokenizer's own. */
  readonly template?: string;
  /** Ends with what starts the assistant's answer. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
  /** Further variables that the template reads. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** What tokenizer_config.json says beside the tokenizer: names of special tokens and chat templates. */
export interface TokenizerConfigJson {
  readonly chat_template?: string | readonly { readonly name: string; readonly template: string }[];
  readonly [field: string]: unknown;
}

/**
 * Renders a conversation as `renderChat` does, with the users' special tokens marked: see chat-guard.ts. What templates
 * and `variables` say is the program's own.
 */
export async function renderGuardedChat(
  messages: readonly ChatMessage[],
  config: TokenizerConfigJson,
  options: ChatTemplateOptions,
  guard: ChatGuard,
): Promise<GuardedText> {
  const { tools, documents } = options;
  const source = chooseTemplate(config, options, "encodeChat");
  const marker = unusedCharacter([messages, tools, documents, options.variables, config, source, guard.contents]);
  const guarded: ChatTemplateOptions = {
    ...options,
    template: source,
    ...(tools !== undefined && { tools: tools.map((tool) => guard.guardValue(tool, marker)) }),
    ...(documents !== undefined && { documents: documents.map((one) => guard.guardValue(one, marker)) }),
  };
  const rendered = await renderChat(guard.guardMessages(messages, marker), config, guarded, "encodeChat");
  return takeMarkers(rendered, marker);
}

/** Renders a conversation with the template that `options` or `config` give. */
export async function renderChat(
  messages: readonly ChatMessage[],
  config: TokenizerConfigJson,
  options: ChatTemplateOptions,
  caller = "applyChatTemplate",
): Promise<string> {
  const source = chooseTemplate(config, options, caller);
  const { Template } = await import("@huggingface/jinja");
  const variables: Record<string, unknown> = {
    ...specialTokenVariables(config),
    messages: messages.map((message) => ({ ...message })),
    add_generation_prompt: options.addGenerationPrompt ?? false,
    ...options.variables,
  };
  // Templates ask whether these are defined.
  if (options.tools !== undefined) variables.tools = [...options.tools];
  if (options.documents !== undefined) variables.documents = [...options.documents];
  try {
    return new Template(source).render(variables);
  } catch (error) {
    throw new Error(`${caller}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** @throws if neither options nor config give a template. */
export function chooseTemplate(config: TokenizerConfigJson, options: ChatTemplateOptions, caller: string): string {
  const own = config.chat_template;
  const named = Array.isArray(own) ? (own as readonly { name: string; template: string }[]) : [];
  if (options.template !== undefined) {
    return named.find(({ name }) => name === options.template)?.template ?? options.template;
  }
  if (typeof own === "string") return own;
  // Hugging Face's choice among several.
  const preferred = options.tools === undefined ? "default" : "tool_use";
  const found = named.find(({ name }) => name === preferred) ?? named.find(({ name }) => name === "default");
  if (found !== undefined) return found.template;
  throw new Error(
    named.length > 0
      ? `${caller}: the templates are named ${named.map(({ name }) => name).join(", ")}; options.template must choose one`
      : `${caller}: the tokenizer has no chat template; options.template was expected`,
  );
}

/** bos_token and the like, which stand in the file as strings or as added tokens. */
function specialTokenVariables(config: TokenizerConfigJson): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (!name.endsWith("_token")) continue;
    const content = typeof value === "object" && value !== null && "content" in value ? value.content : value;
    if (typeof content === "string") variables[name] = content;
  }
  return variables;
}
