import type { Family } from "../families/family.ts";
import type { RunOutcome } from "../run/run-outcome.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings, type GivenSettings } from "../run/train-settings.ts";

/** Something that `genai reproduce` trains and measures beside published numbers. */
export interface Recipe {
  /** As typed after `genai reproduce`. */
  readonly name: string;
  readonly summary: string;
  /** "9 minutes on two cores; --full: a day" */
  readonly duration: string;
  run(request: RecipeRequest): Promise<RecipeReport>;
}

export interface RecipeRequest {
  readonly seed: number;
  /** In place of the recipe's own limit on each training. */
  readonly seconds: number | undefined;
  readonly device: string;
  readonly out: string | undefined;
  /** The published length of training in place of minutes. */
  readonly full: boolean;
}

/** A measured number and, if there is one, the limit that was stated for it. */
export interface Obtained {
  readonly label: string;
  readonly value: number;
  readonly unit: string;
  readonly digits?: number;
  readonly atMost?: number;
  readonly atLeast?: number;
}

export interface RecipeReport {
  readonly obtained: readonly Obtained[];
  /** Numbers that belong together, in rows. */
  readonly table?: { readonly columns: readonly string[]; readonly rows: readonly (readonly (string | number)[])[] };
  readonly published: readonly { readonly what: string; readonly value: string; readonly source: string }[];
  readonly runs: readonly RunOutcome[];
}

export const isReached = ({ value, atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY }: Obtained) =>
  value <= atMost && value >= atLeast;

export interface TrainingRecipe {
  readonly name: string;
  readonly summary: string;
  readonly duration: string;
  readonly family: Family;
  readonly settings: GivenSettings;
  /** What differs with `--full`. */
  readonly full: GivenSettings;
  readonly obtained: (run: RunOutcome) => readonly Obtained[];
  readonly published: RecipeReport["published"];
}

/** A recipe that is one training run. */
export function trainingRecipe(recipe: TrainingRecipe): Recipe {
  const { name, summary, duration, family, published } = recipe;
  return {
    name,
    summary,
    duration,
    async run({ seed, seconds, device, out, full }) {
      const given = mergeSettings(recipe.settings, full ? recipe.full : {});
      const settings = completeSettings(family, { ...given, seed, seconds: seconds ?? given.seconds });
      const run = await startRun({ family, settings, name, out, device, checkpointEvery: 1000 });
      return { obtained: recipe.obtained(run), published, runs: [run] };
    },
  };
}

export function mergeSettings(base: GivenSettings, changes: GivenSettings): GivenSettings {
  return { ...base, ...changes, options: { ...base.options, ...changes.options } };
}
