import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** One line of metrics.jsonl: the step it was measured at, seconds of training so far, and the values. */
export interface MetricsLine {
  readonly step: number;
  readonly seconds: number;
  readonly [metric: string]: number;
}

/** Reads the complete lines of a metrics file; a last line that a crash cut short is left out. */
export async function readMetrics(file: string): Promise<MetricsLine[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as MetricsLine);
}

/** Appends lines to metrics.jsonl, each in one write, so that a killed process loses none that it has reported. */
export class MetricsLog {
  readonly #fd: number;
  readonly lines: MetricsLine[];

  private constructor(fd: number, lines: MetricsLine[]) {
    this.#fd = fd;
    this.lines = lines;
  }

  /** Opens the file with the complete lines that it holds. */
  static async open(file: string): Promise<MetricsLog> {
    const lines = await readMetrics(file);
    const log = new MetricsLog(openSync(file, "a"), []);
    log.#rewrite(lines);
    return log;
  }

  /** Drops what was written after `step`, the step of the checkpoint that training goes on from. */
  rewind(step: number): void {
    this.#rewrite(this.lines.filter((line) => line.step <= step));
  }

  #rewrite(lines: readonly MetricsLine[]): void {
    ftruncateSync(this.#fd, 0);
    this.lines.length = 0;
    for (const line of lines) this.append(line);
  }

  append(line: MetricsLine): void {
    writeSync(this.#fd, `${JSON.stringify(line)}\n`);
    this.lines.push(line);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
