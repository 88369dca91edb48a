import { writeFile } from "node:fs/promises";
import { createInterface, type Interface } from "node:readline";
import { bold, dim } from "../terminal.ts";
import { printable } from "../text/sample-log.ts";
import type { AnswerOptions, AnswerWriter } from "./answer-writer.ts";
import type { Conversation } from "./conversation.ts";

export interface ChatReplOptions {
  readonly conversation: Conversation;
  readonly writer: AnswerWriter;
  readonly answer: Omit<AnswerOptions, "signal">;
  readonly input: NodeJS.ReadStream | NodeJS.ReadableStream;
  readonly output: NodeJS.WriteStream | NodeJS.WritableStream;
  /** Where remarks go. */
  readonly note: (text: string) => void;
}

const help = `/help           this list
/reset          forget what was said
/system TEXT    tell the model how to be; without TEXT nothing is told
/save FILE      write the conversation as JSON
/exit           leave, as Ctrl-D does
A line that ends in \\ goes on with the next one; // begins a message with a slash.
Ctrl-C stops an answer.`;

/** Reads lines from a person, or a pipe, and has them answered, until /exit or the end. */
export class ChatRepl {
  readonly #options: ChatReplOptions;
  readonly #isTerminal: boolean;
  readonly #lines: string[] = [];
  #wake: () => void = () => {};
  #atEnd = false;
  #answering: AbortController | undefined;

  constructor(options: ChatReplOptions) {
    this.#options = options;
    this.#isTerminal = "isTTY" in options.input && options.input.isTTY === true;
  }

  /** Stops the answer that is being written. @returns whether there was one */
  interrupt(): boolean {
    if (!this.#answering) return false;
    this.#answering.abort();
    return true;
  }

  async run(): Promise<void> {
    const { input, output } = this.#options;
    const lines = createInterface({
      input,
      ...(this.#isTerminal && { output, terminal: true, prompt: bold("> "), historySize: 1000 }),
    });
    lines.on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
    lines.on("close", () => {
      this.#atEnd = true;
      this.#wake();
    });
    lines.on("SIGINT", () => this.#onInterrupt(lines));
    try {
      for (;;) {
        const said = await this.#nextMessage(lines);
        if (said === undefined) break;
        if (said.trim() === "") continue;
        if (said.startsWith("/") && !said.startsWith("//")) {
          if (await this.#command(said)) break;
        } else await this.#turn(said.startsWith("//") ? said.slice(1) : said);
      }
    } finally {
      lines.close();
    }
  }

  #onInterrupt(lines: Interface): void {
    if (this.interrupt()) return;
    // As shells do: the line is left, the person stays.
    output(this.#options, "\n");
    if (lines.line === "") this.#options.note(dim("Ctrl-D or /exit leaves"));
    lines.write(null, { ctrl: true, name: "u" });
    lines.prompt();
  }

  /** The next message, of one line or several; undefined at the end. */
  async #nextMessage(lines: Interface): Promise<string | undefined> {
    let message = "";
    if (this.#isTerminal && this.#lines.length === 0 && !this.#atEnd) lines.prompt();
    for (;;) {
      while (this.#lines.length === 0) {
        if (this.#atEnd) {
          if (this.#isTerminal) output(this.#options, "\n");
          return message === "" ? undefined : message;
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      const line = this.#lines.shift()!;
      if (!line.endsWith("\\")) return message + line;
      message += `${line.slice(0, -1)}\n`;
    }
  }

  /** @returns whether to leave */
  async #command(line: string): Promise<boolean> {
    const { conversation, note } = this.#options;
    const [, name, rest] = /^\/(\S*)\s*([\s\S]*)$/.exec(line)!;
    switch (name) {
      case "help":
        note(help);
        return false;
      case "exit":
      case "quit":
        return true;
      case "reset":
        conversation.reset();
        note(dim("Forgotten."));
        return false;
      case "system":
        conversation.system = rest === "" ? undefined : rest;
        note(dim(rest === "" ? "The model is told nothing." : "From now on the model is told so."));
        return false;
      case "save":
        await this.#save(rest!.trim());
        return false;
      default:
        note(`There is no /${name}; /help lists what there is`);
        return false;
    }
  }

  async #save(file: string): Promise<void> {
    const { conversation, note } = this.#options;
    if (file === "") {
      note("/save needs the name of a file");
      return;
    }
    try {
      await writeFile(file, `${JSON.stringify(conversation.saved(), null, 2)}\n`);
      note(dim(`Written to ${file}`));
    } catch (error) {
      note(`${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #turn(said: string): Promise<void> {
    const { conversation, writer, answer, note } = this.#options;
    const reserved = Math.min(answer.maxNewTokens, Math.ceil(writer.context / 2));
    this.#answering = new AbortController();
    const { signal } = this.#answering;
    let written = "";
    try {
      const { ids, dropped } = await conversation.prompt(said, writer.context, reserved);
      if (dropped > 0) note(dim(this.#droppedNote(dropped)));
      const pieces = writer.write(ids, { ...answer, signal });
      for (let piece = await pieces.next(); ; piece = await pieces.next()) {
        if (piece.done) {
          if (piece.value === "length" && this.#isTerminal) written = this.#show(written, "", dim(" …"));
          break;
        }
        written = this.#show(written, piece.value);
      }
    } catch (error) {
      if (!signal.aborted) {
        if (written !== "") output(this.#options, "\n");
        note((error instanceof Error ? error.message : String(error)).replace(/^\w+: /, ""));
        return;
      }
      this.#show(written, "", dim(" (stopped)"));
    } finally {
      this.#answering = undefined;
    }
    conversation.add(said, written);
    output(this.#options, this.#isTerminal ? "\n\n" : "\n");
  }

  /** Shows a piece of the answer, and something behind it that is no part of it. */
  #show(written: string, piece: string, behind = ""): string {
    output(this.#options, (this.#isTerminal ? printable(piece) : piece) + behind);
    return written + piece;
  }

  #droppedNote(dropped: number): string {
    const { writer, conversation } = this.#options;
    const what = Array.isArray(conversation.saved()) ? "messages" : "tokens";
    return `(The oldest ${dropped} ${what} no longer fit the context of ${writer.context} tokens; the model does not see them.)`;
  }
}

function output({ output }: ChatReplOptions, text: string): void {
  if (text !== "") output.write(text);
}
