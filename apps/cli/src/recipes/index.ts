import { UsageError } from "../exit-code.ts";
import { anomalyMnist } from "./anomaly-mnist.ts";
import { makemore, nanogptCpu } from "./gpt-recipes.ts";
import { imputeMnist } from "./impute-mnist.ts";
import type { Recipe } from "./recipe.ts";
import { iwaeMnist, tableVaeDiamonds, vaeMnist, vqVaeMnist } from "./vae-recipes.ts";

/** What `genai reproduce` knows: the one list to add to. */
export const recipes: readonly [Recipe, ...Recipe[]] = [
  vaeMnist,
  iwaeMnist,
  vqVaeMnist,
  tableVaeDiamonds,
  anomalyMnist,
  imputeMnist,
  nanogptCpu,
  makemore,
];

/** The recipe of that name. */
export function recipeNamed(name: string): Recipe {
  const recipe = recipes.find((candidate) => candidate.name === name);
  if (recipe) return recipe;
  throw new UsageError(`No recipe is called ${name}; there is ${recipes.map((known) => known.name).join(", ")}`);
}
