import type { ChatMessage, Tokenizer } from "@genai/tokenizer";
import { startIds } from "../text/sample-texts.ts";

/** What a model goes on from, and how many of the oldest messages had to be left out. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly dropped: number;
}

export interface ConversationOptions {
  readonly tokenizer: Tokenizer;
  /** Jinja; without it, and without one in the tokenizer, the talk is running text. */
  readonly template?: string | undefined;
  readonly system?: string | undefined;
}

/** What was said so far, as a list of messages or as running text. */
export interface Conversation {
  /** What to go on from after this is said, with room for an answer of `reserved` tokens in `context`. @throws if it is too long. */
  prompt(said: string, context: number, reserved: number): Promise<Prompt>;
  /** Remembers what was said and answered, from the turns that still fit on. */
  add(said: string, answered: string): void;
  reset(): void;
  system: string | undefined;
  /** What `/save` writes. */
  saved(): unknown;
}

export function createConversation(options: ConversationOptions): Conversation {
  const hasTemplate = options.template !== undefined || options.tokenizer.config.chat_template !== undefined;
  return hasTemplate ? new Chat(options) : new RunningText(options);
}

interface Turn {
  readonly user: string;
  readonly assistant: string;
}

class Chat implements Conversation {
  readonly #tokenizer: Tokenizer;
  readonly #template: string | undefined;
  #turns: Turn[] = [];
  /** Turns that the last prompt had no room for. */
  #dropped = 0;
  system: string | undefined;

  constructor({ tokenizer, template, system }: ConversationOptions) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.system = system;
  }

  async prompt(said: string, context: number, reserved: number): Promise<Prompt> {
    for (let dropped = 0; ; dropped++) {
      const turns = this.#turns.slice(dropped);
      const ids = await this.#tokenizer.encodeChat([...this.#messages(turns), { role: "user", content: said }], {
        addGenerationPrompt: true,
        ...(this.#template !== undefined && { template: this.#template }),
      });
      // The last token of an answer is not read.
      if (ids.length + (turns.length > 0 ? reserved : 1) - 1 <= context) {
        this.#dropped = dropped;
        return { ids: [...ids], dropped: 2 * dropped };
      }
      if (turns.length > 0) continue;
      throw new Error(
        `The message takes ${ids.length} tokens with what goes around it; the context has room for ${context}. Shorten it`,
      );
    }
  }

  add(user: string, assistant: string): void {
    this.#turns = [...this.#turns.slice(this.#dropped), { user, assistant }];
    this.#dropped = 0;
  }

  reset(): void {
    this.#turns = [];
  }

  saved(): readonly ChatMessage[] {
    return this.#messages(this.#turns);
  }

  #messages(turns: readonly Turn[]): ChatMessage[] {
    return [
      ...(this.system === undefined ? [] : [{ role: "system", content: this.system }]),
      ...turns.flatMap(({ user, assistant }) => [
        { role: "user", content: user },
        { role: "assistant", content: assistant },
      ]),
    ];
  }
}

/** For models that know no roles: a text that both go on writing. */
class RunningText implements Conversation {
  readonly #tokenizer: Tokenizer;
  #text = "";
  system: string | undefined;

  constructor({ tokenizer, system }: ConversationOptions) {
    this.#tokenizer = tokenizer;
    this.system = system;
  }

  async prompt(said: string, context: number, reserved: number): Promise<Prompt> {
    const text = this.#with(said);
    const ids = [...this.#tokenizer.encode(text, { truncation: false, padding: false }).ids];
    if (ids.length === 0) return { ids: startIds(this.#tokenizer), dropped: 0 };
    const room = Math.max(1, context - reserved + 1);
    return { ids: ids.slice(-room), dropped: Math.max(0, ids.length - room) };
  }

  add(said: string, answered: string): void {
    this.#text = this.#with(said) + answered;
    this.system = undefined;
  }

  reset(): void {
    this.#text = "";
  }

  saved(): string {
    return this.#text;
  }

  #with(said: string): string {
    return (this.#text === "" && this.system !== undefined ? this.system : this.#text) + said;
  }
}
