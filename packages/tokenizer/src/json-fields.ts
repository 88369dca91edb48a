import { TokenizerFormatError } from "./errors.ts";

// Reads fields of parsed JSON whose shape nobody has checked. `where` names the file and the path of the object, as in
// "tokenizer.json: pre_tokenizer.pretokenizers[0]".

export type JsonObject = Readonly<Record<string, unknown>>;

/** What a value is, for an error message. */
export function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function fail(where: string, field: string, value: unknown, expected: string): never {
  const path = field === "" ? where : `${where}.${field}`;
  throw new TokenizerFormatError(`${path} is ${describe(value)}; ${expected} was expected`);
}

export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(where, "", value, "an object");
  return value as JsonObject;
}

export function stringField(object: JsonObject, field: string, where: string, missing?: string): string {
  const value = object[field];
  if (value === undefined && missing !== undefined) return missing;
  return typeof value === "string" ? value : fail(where, field, value, "a string");
}

export function booleanField(object: JsonObject, field: string, where: string, missing: boolean): boolean {
  const value = object[field];
  if (value === undefined || value === null) return missing;
  return typeof value === "boolean" ? value : fail(where, field, value, "true or false");
}

/** A whole number of at least `least`. */
export function wholeField(object: JsonObject, field: string, where: string, least = 0, missing?: number): number {
  const value = object[field];
  if (value === undefined && missing !== undefined) return missing;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) {
    fail(where, field, value, `a whole number of at least ${least}`);
  }
  return value as number;
}

export function arrayField(object: JsonObject, field: string, where: string): readonly unknown[] {
  const value = object[field];
  return Array.isArray(value) ? value : fail(where, field, value, "an array");
}

export function choiceField<T extends string>(
  object: JsonObject,
  field: string,
  where: string,
  choices: readonly T[],
  missing?: T,
): T {
  const value = object[field];
  if ((value === undefined || value === null) && missing !== undefined) return missing;
  if (typeof value !== "string" || !choices.includes(value as T)) {
    fail(where, field, value, `one of ${choices.join(", ")}`);
  }
  return value as T;
}

/** The stages of a Sequence, built one by one. */
export function sequenceStages<T>(
  object: JsonObject,
  field: string,
  where: string,
  build: (json: unknown, where: string) => T,
): T[] {
  return arrayField(object, field, where).map((item, i) => build(item, `${where}.${field}[${i}]`));
}
