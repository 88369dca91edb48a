import { UsageError } from "../exit-code.ts";
import type { Family, ModelKind } from "./family.ts";
import { finetuneFamily } from "./finetune/index.ts";
import { gptFamily } from "./gpt/index.ts";
import { vaeFamily } from "./vae/index.ts";

/** All families that `genai train` knows: the one list to add to. */
export const families: readonly Family[] = [vaeFamily, gptFamily];

/** What `genai quickstart` trains: the family's first kind. */
export const quickstartFamily: Family = vaeFamily;

/** Those, and what other commands make runs of. */
const allFamilies: readonly Family[] = [...families, finetuneFamily];

/** What goes on with a run of a family: "genai train vae --resume runs/first". */
export function resumeCommand(family: string, dir: string): string {
  const known = allFamilies.find(({ name }) => name === family);
  return `${known?.command ?? `genai train ${family}`} --resume ${dir}`;
}

/** The family of that name. */
export function familyNamed(name: string): Family {
  const family = allFamilies.find((candidate) => candidate.name === name);
  if (family) return family;
  throw new UsageError(`No family is called ${name}; there is ${families.map((known) => known.name).join(", ")}`);
}

/** The kind of that name; the family's first if none is given. */
export function kindNamed(family: Family, name: string | undefined): ModelKind {
  if (name === undefined) return family.kinds[0];
  const kind = family.kinds.find((candidate) => candidate.name === name);
  if (kind) return kind;
  const known = family.kinds.map((candidate) => candidate.name).join(", ");
  throw new UsageError(`No kind of ${family.name} is called ${name}; there is ${known}`);
}

/** What a run trained. */
export function kindOfRun(config: {
  readonly family: string;
  readonly settings: { readonly kind: string };
}): ModelKind {
  return kindNamed(familyNamed(config.family), config.settings.kind);
}

/** A kind's way to do something, or a UsageError that says which kinds have one. */
export function abilityOf<K extends "sample" | "scoreAnomalies" | "impute" | "exportOnnx">(
  config: Parameters<typeof kindOfRun>[0],
  ability: K,
  verb: string,
): NonNullable<ModelKind[K]> {
  const kind = kindOfRun(config);
  const found = kind[ability];
  if (found) return found;
  const able = familyNamed(config.family).kinds.filter((candidate) => candidate[ability]);
  if (able.length === 0)
    throw new UsageError(`No ${config.family} can ${verb}${familyNamed(config.family).instead ?? ""}`);
  throw new UsageError(
    `A ${config.family} of kind ${kind.name} cannot ${verb}; kinds that can are ${able.map(({ name }) => name).join(", ")}`,
  );
}
