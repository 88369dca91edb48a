import { FormatError } from "@genai/core";
import type { TableColumn, TableSet } from "./dataset.ts";
import { decodeUtf8 } from "./text-files.ts";
import { checkUserFiles, nameOfUserFile, readUserFile, type UserFile } from "./user-file.ts";

/** What a column holds. `categories` fixes their order and refuses others; "skip" leaves the column out. */
export type ColumnType =
  | "numeric"
  | "categorical"
  | "skip"
  | { readonly kind: "numeric"; readonly unit?: string }
  | { readonly kind: "categorical"; readonly categories: readonly string[] };

export interface ReadCsvOptions {
  /** What the text is called in errors. Default "CSV". */
  readonly name?: string;
  /** Whether the first line names the columns, or the names where it does not. Default true. */
  readonly header?: boolean | readonly string[];
  /** Default: whichever of comma, semicolon, tab and bar fits best. */
  readonly delimiter?: string;
  /** Cells that hold no value, besides empty ones. Default "NA", "N/A", "NaN", "nan", "null", "?". */
  readonly missing?: readonly string[];
  /** Types of columns by name; the others are numeric if every value is a number, and categorical otherwise. */
  readonly columns?: Readonly<Record<string, ColumnType>>;
  /** Most categories that an untyped column may have: more look like free text or a mistyped number. Default 256. */
  readonly maxCategories?: number;
  /** What to do with a column of one value, which no model can learn from. Default "throw". */
  readonly onConstant?: "throw" | "drop" | "keep";
  /** Name of the column that is commonly predicted from the others. */
  readonly target?: string;
  readonly source?: string;
  readonly licence?: string;
}

export interface LoadCsvOptions extends ReadCsvOptions {
  readonly signal?: AbortSignal;
}

/**
 * A table from a CSV file of your own: a path (Node), an address, or a File. As `readCsv`.
 *
 * @throws as `readCsv`, an Error naming the file if it cannot be read, AbortError.
 */
export async function loadCsv(file: UserFile, { signal, ...options }: LoadCsvOptions = {}): Promise<TableSet> {
  checkUserFiles("loadCsv", file);
  const name = options.name ?? nameOfUserFile(file);
  const text = decodeUtf8("loadCsv", await readUserFile("loadCsv", file, signal), name);
  return readCsv(text, { ...options, name });
}

/**
 * Reads a table from the text of a CSV file (RFC 4180). Categories are in order of their numbers, else of their letters.
 *
 * @throws FormatError with line numbers: a row with too many or too few cells, a quote that does not close, a cell that is
 * no number in a numeric column, a category that is not listed, a column without values or of one value, no rows, columns
 * of the same name, or a typed column that is not there.
 */
export async function readCsv(text: string, options: ReadCsvOptions = {}): Promise<TableSet> {
  const { name = "CSV", source = "your own file", licence = "yours", target } = options;
  const fail: Fail = (what) => {
    throw new FormatError(`readCsv: ${name}${what}`);
  };
  if (typeof text !== "string") fail(` is no text (${typeof text}); expected a string`);
  const { names, rows, lines } = await parse(text, options, fail);
  const types = options.columns ?? {};
  for (const typed of Object.keys(types)) {
    if (!names.includes(typed)) fail(`: column "${typed}" is typed but not there; expected one of ${quoted(names)}`);
  }
  if (target !== undefined && !names.includes(target)) {
    fail(`: target "${target}" is no column; expected one of ${quoted(names)}`);
  }
  const missing = new Set(options.missing ?? ["NA", "N/A", "NaN", "nan", "null", "?"]).add("");
  const numeric: ReadColumn[] = [];
  const categorical: ReadColumn[] = [];
  for (const [at, column] of names.entries()) {
    const type = Object.hasOwn(types, column) ? types[column] : undefined;
    if (type === "skip") continue;
    const cells = rows.map((row) => {
      const cell = row[at]!.trim();
      return missing.has(cell) ? undefined : cell;
    });
    const read = readColumn(column, cells, type, options, (row, what) =>
      fail(`${row === undefined ? "" : `, line ${lines[row]}`}: column "${column}"${what}`),
    );
    if (read !== undefined) (read.column.kind === "numeric" ? numeric : categorical).push(read);
  }
  if (numeric.length + categorical.length === 0) fail(": no column is left; expected at least one");
  return {
    name,
    source,
    licence,
    ...assemble(rows.length, numeric, categorical),
    ...(target === undefined ? {} : { target }),
  };
}

type Fail = (what: string) => never;
type FailAt = (row: number | undefined, what: string) => never;

const quoted = (names: readonly string[]) =>
  names
    .slice(0, 20)
    .map((name) => `"${name}"`)
    .join(", ") + (names.length > 20 ? ", ..." : "");

async function parse(text: string, options: ReadCsvOptions, fail: Fail) {
  const { header = true, delimiter = "" } = options;
  const { default: Papa } = await import("papaparse");
  const { data, errors, meta } = Papa.parse<string[]>(text.replace(/^\uFEFF/, ""), {
    delimiter,
    delimitersToGuess: [",", ";", "\t", "|"],
  });
  // A quoted cell may hold line ends, so a row's line is not its index.
  const starts: number[] = [];
  let line = 1;
  for (const row of data) {
    starts.push(line);
    line += 1;
    for (const cell of row) if (cell.includes("\n") || cell.includes("\r")) line += cell.match(/\r\n|\r|\n/g)!.length;
  }
  const broken = errors.find(({ type }) => type === "Quotes");
  if (broken !== undefined) fail(`, line ${starts[broken.row ?? 0] ?? 1}: ${broken.message}; expected matching quotes`);
  const kept = data.flatMap((row, i) => (row.length === 1 && row[0]!.trim() === "" ? [] : [i]));
  const first = kept[0];
  if (first === undefined) return fail(": no rows");
  const named = header === true ? data[first]! : header === false ? undefined : header;
  const names = named?.map((name) => name.trim()) ?? data[first]!.map((_, i) => `column${i + 1}`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) fail(`: two columns are called "${twice}"`);
  const nameless = names.indexOf("");
  if (nameless >= 0) fail(`: column ${nameless + 1} has no name`);
  const body = header === true ? kept.slice(1) : kept;
  if (body.length === 0) fail(": no rows below the names of the columns");
  const ragged = body.filter((i) => data[i]!.length !== names.length);
  const worst = ragged[0];
  if (worst !== undefined) {
    // A wrong guess of the delimiter looks like ragged rows.
    const cells = `${data[worst]!.length} cells${delimiter === "" ? ` at ${JSON.stringify(meta.delimiter)}` : ""}`;
    const all = ragged.length > 1 ? `; ${ragged.length} of ${body.length} rows are ragged` : "";
    fail(`, line ${starts[worst]}: ${cells}; expected ${names.length}, one for each of ${quoted(names)}${all}`);
  }
  return { names, rows: body.map((i) => data[i]!), lines: body.map((i) => starts[i]!) };
}

interface ReadColumn {
  readonly column: TableColumn;
  /** Numbers, or indices of categories; NaN or -1 where missing. */
  readonly values: Float32Array | Int32Array;
}

/** Decimal numbers only: Number would also take "0x10", "Infinity" and " ". */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const numberOf = (cell: string): number => (decimal.test(cell) ? Math.fround(Number(cell)) : Number.NaN);

function readColumn(
  name: string,
  cells: readonly (string | undefined)[],
  type: Exclude<ColumnType, "skip"> | undefined,
  { maxCategories = 256, onConstant = "throw" }: ReadCsvOptions,
  fail: FailAt,
): ReadColumn | undefined {
  const row = cells.findIndex((cell) => cell !== undefined);
  if (row < 0) return onConstant === "drop" ? undefined : fail(undefined, ' has no value; leave it out by "skip"');
  const kind = typeof type === "object" ? type.kind : type;
  const listed = typeof type === "object" && type.kind === "categorical" ? type.categories : undefined;
  const odd = cells.findIndex((cell) => cell !== undefined && !Number.isFinite(numberOf(cell)));
  if (kind === "numeric" && odd >= 0) fail(odd, ` holds "${cells[odd]}"; expected a number within float32's range`);
  const present = cells.filter((cell) => cell !== undefined);
  if (kind === "numeric" || (kind === undefined && odd < 0)) {
    const values = Float32Array.from(cells, (cell) => (cell === undefined ? Number.NaN : numberOf(cell)));
    const constant = values.every((value) => Number.isNaN(value) || value === values[row]);
    if (constant && onConstant === "drop") return undefined;
    if (constant && onConstant === "throw") fail(undefined, oneValue(cells[row]!));
    const unit = typeof type === "object" && type.kind === "numeric" ? type.unit : undefined;
    return { column: { name, kind: "numeric", ...(unit === undefined ? {} : { unit }) }, values };
  }
  const distinct = [...new Set(present)];
  if (kind === undefined && distinct.length > maxCategories) {
    fail(
      odd,
      ` holds "${cells[odd]}", and ${distinct.length} different texts in all; expected numbers or at most ${maxCategories} categories, or a type in the option columns`,
    );
  }
  if (distinct.length === 1 && onConstant === "drop") return undefined;
  if (distinct.length === 1 && onConstant === "throw") fail(undefined, oneValue(distinct[0]!));
  const numbers = distinct.every((value) => decimal.test(value));
  const categories =
    listed ?? distinct.sort((a, b) => (numbers ? Number(a) - Number(b) : 0) || (a < b ? -1 : a > b ? 1 : 0));
  const index = new Map(categories.map((category, i) => [category, i]));
  const unknown = cells.findIndex((cell) => cell !== undefined && !index.has(cell));
  if (unknown >= 0)
    fail(unknown, ` holds the unknown label "${cells[unknown]}"; expected one of ${quoted(categories)}`);
  return {
    column: { name, kind: "categorical", categories },
    values: Int32Array.from(cells, (cell) => (cell === undefined ? -1 : index.get(cell)!)),
  };
}

const oneValue = (value: string) =>
  ` has one value ("${value}"); expected at least two, or onConstant: "drop" or "keep"`;

function assemble(n: number, numeric: readonly ReadColumn[], categorical: readonly ReadColumn[]) {
  const [N, C] = [numeric.length, categorical.length];
  const mask = new Uint8Array(n * (N + C));
  const interleave = (columns: readonly ReadColumn[], out: Float32Array | Int32Array, offset: number) => {
    for (const [c, { values }] of columns.entries()) {
      for (let row = 0; row < n; row++) {
        const value = values[row]!;
        out[row * columns.length + c] = value;
        // Missing is NaN in a Float32Array and -1 in an Int32Array.
        const there = values instanceof Int32Array ? value >= 0 : !Number.isNaN(value);
        mask[row * (N + C) + offset + c] = there ? 1 : 0;
      }
    }
  };
  const numbers = new Float32Array(n * N);
  const indices = new Int32Array(n * C);
  interleave(numeric, numbers, 0);
  interleave(categorical, indices, N);
  return {
    columns: [...numeric, ...categorical].map(({ column }) => column),
    numeric: numbers,
    categorical: indices,
    mask,
    shape: [n, N + C] as const,
  };
}
