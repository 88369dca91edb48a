import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { dataNames } from "../data/data-names.ts";
import { UsageError } from "../exit-code.ts";
import type { Family, Preset } from "../families/family.ts";
import { kindNamed } from "../families/index.ts";
import { isHubModel } from "../text/hub-model.ts";
import type { TrainSettings } from "./run-folder.ts";

/** What a person or a recipe may say; the kind has a default for the rest. */
export interface GivenSettings {
  readonly kind?: string | undefined;
  /** One of the family's; what is given besides goes before it. */
  readonly preset?: string | undefined;
  readonly data?: string | undefined;
  readonly steps?: number | undefined;
  readonly seconds?: number | null | undefined;
  readonly batchSize?: number | undefined;
  readonly learningRate?: number | undefined;
  readonly seed?: number | undefined;
  readonly from?: string | null | undefined;
  /** The family's options, by attribute name; undefined ones count as not given. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Complete settings. Throws a UsageError for an unknown preset and for an option that the kind does not take. */
export function completeSettings(family: Family, request: GivenSettings): TrainSettings {
  const given = withPreset(family, request);
  const kind = kindNamed(family, given.kind);
  const { defaults } = kind;
  const options = withoutUndefined(given.options ?? {});
  const foreign = Object.keys(options).filter((name) => !(name in defaults.options));
  if (foreign.length > 0) {
    const flags = family.options.filter((option) => foreign.includes(option.attributeName()));
    const able = family.kinds.filter((other) => foreign.every((name) => name in other.defaults.options));
    const hint = able.length > 0 ? `; kinds that take it are ${able.map(({ name }) => name).join(", ")}` : "";
    throw new UsageError(`${flags.map(({ long }) => long).join(", ")} means nothing to --kind ${kind.name}${hint}`);
  }
  return {
    kind: kind.name,
    ...(given.preset === undefined ? {} : { preset: given.preset }),
    data: absolute(given.data ?? defaults.data, dataNames(kind.data)),
    steps: given.steps ?? defaults.steps,
    seconds: given.seconds ?? null,
    batchSize: given.batchSize ?? defaults.batchSize,
    learningRate: given.learningRate ?? defaults.learningRate,
    seed: given.seed ?? 0,
    from: given.from == null ? null : isHubModel(given.from) ? given.from : resolve(given.from),
    options: { ...defaults.options, ...options },
  };
}

function withPreset(family: Family, given: GivenSettings): GivenSettings {
  if (given.preset === undefined) return given;
  const { name, settings } = presetNamed(family, given.preset);
  if (given.kind !== undefined && given.kind !== settings.kind) {
    throw new UsageError(`--preset ${name} is of kind ${settings.kind}; leave --kind ${given.kind} out`);
  }
  return {
    ...settings,
    ...withoutUndefined(given),
    kind: settings.kind,
    options: { ...settings.options, ...withoutUndefined(given.options ?? {}) },
  };
}

const withoutUndefined = <T extends object>(record: T): Partial<T> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Partial<T>;

function presetNamed({ name: family, presets = [] }: Family, name: string): Preset {
  const preset = presets.find((candidate) => candidate.name === name);
  if (preset) return preset;
  const known = presets.map((candidate) => candidate.name).join(", ");
  throw new UsageError(`No preset of ${family} is called ${name}; there is ${known || "none"}`);
}

/** A path as one that means the same from every folder, so that a run can be resumed from any. */
function absolute(data: string, names: readonly string[]): string {
  return !names.includes(data) && existsSync(data) ? resolve(data) : data;
}
