// The only place that writes to the terminal. Results go to stdout; everything else goes to stderr, so that
// `genai ... --json | jq` always sees exactly one JSON document.

/** Prints one line of the result, for people. */
export function printLine(text = ""): void {
  process.stdout.write(`${text}\n`);
}

/** Prints the result as one line of JSON, for programs. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Prints a remark about the work in progress. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Ends the program when nobody reads its output any more: a reader that has seen enough, such as head, is no error. */
export function endWithReader(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
}

const styled = (on: string) => (text: string) =>
  process.stdout.isTTY && process.env.NO_COLOR === undefined ? `\u001b[${on}m${text}\u001b[0m` : text;

export const bold = styled("1");
export const dim = styled("2");
export const green = styled("32");
export const red = styled("31");

/** Lays rows out in columns, two spaces apart. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, visibleWidth(cell));
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat(widths[i]! - visibleWidth(cell))))
      .join("  ")
      .trimEnd(),
  );
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with a control character
const visibleWidth = (text: string) => text.replace(/\u001b\[\d+m/g, "").length;
