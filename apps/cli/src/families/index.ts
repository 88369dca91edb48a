import { UsageError } from "../exit-code.ts";
import type { Family, Recipe } from "./family.ts";
import { vaeFamily } from "./vae.ts";

/** All families that the commands know: the one list to add to. */
export const families: readonly Family[] = [vaeFamily];

/** What `genai quickstart` trains. */
export const quickstartFamily: Family = vaeFamily;

/** The family of that name. */
export function familyNamed(name: string): Family {
  const family = families.find((candidate) => candidate.name === name);
  if (family) return family;
  throw new UsageError(`No family is called ${name}; there is ${families.map((known) => known.name).join(", ")}`);
}

/** The recipe of that name and its family. */
export function recipeNamed(name: string): { family: Family; recipe: Recipe } {
  for (const family of families) {
    const recipe = family.recipes.find((candidate) => candidate.name === name);
    if (recipe) return { family, recipe };
  }
  const known = families.flatMap((family) => family.recipes.map((recipe) => recipe.name));
  throw new UsageError(`No recipe is called ${name}; there is ${known.join(", ")}`);
}
