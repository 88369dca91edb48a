import { FormatError } from "@genai/core";

/** A published config.json. */
export type PublishedConfig = Readonly<Record<string, unknown>>;

/** Reads the fields of a config.json with checks; what is null counts as absent. */
export interface ConfigFields {
  /** @throws if the field is no number, or absent without a default. */
  number(name: string, ifAbsent?: number): number;
  /** undefined if absent. */
  optionalNumber(name: string): number | undefined;
  boolean(name: string, ifAbsent: boolean): boolean;
  string(name: string, ifAbsent: string): string;
  record(name: string): PublishedConfig | undefined;
  /** @throws unless the field is a list of numbers. */
  numbers(name: string): readonly number[];
  /** A list of strings; undefined if absent. */
  optionalStrings(name: string): readonly string[] | undefined;
  /** @throws unless the field is absent or `want`: what else there is would compute something different. */
  only(name: string, ...want: readonly unknown[]): void;
}

export function configFields(config: PublishedConfig, where: string): ConfigFields {
  const fail = (name: string, expected: string): never => {
    throw new FormatError(`${where}: ${name} is ${JSON.stringify(config[name])}; expected ${expected}`);
  };
  const present = (name: string) => config[name] !== undefined && config[name] !== null;
  const typed = <T>(name: string, type: string, ifAbsent: T | undefined): T => {
    if (!present(name)) return ifAbsent === undefined ? fail(name, `a ${type}`) : ifAbsent;
    return typeof config[name] === type ? (config[name] as T) : fail(name, `a ${type}`);
  };
  const list = <T>(name: string, type: string): readonly T[] => {
    const value = config[name];
    const fits = Array.isArray(value) && value.every((item) => typeof item === type);
    return fits ? (value as T[]) : fail(name, `a list of ${type}s`);
  };
  return {
    number: (name, ifAbsent) => typed(name, "number", ifAbsent),
    optionalNumber: (name) => (present(name) ? typed<number>(name, "number", undefined) : undefined),
    boolean: (name, ifAbsent) => typed(name, "boolean", ifAbsent),
    string: (name, ifAbsent) => typed(name, "string", ifAbsent),
    numbers: (name) => list<number>(name, "number"),
    optionalStrings: (name) => (present(name) ? list<string>(name, "string") : undefined),
    record: (name) => (present(name) ? typed<PublishedConfig>(name, "object", undefined) : undefined),
    only(name, ...want) {
      if (present(name) && !want.includes(config[name])) {
        fail(name, `${want.map((value) => JSON.stringify(value)).join(" or ")}, which is all that is supported`);
      }
    },
  };
}
