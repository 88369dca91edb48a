import type { SamplingOptions } from "@genai/transformer";
import { Option } from "commander";
import { finiteNumber, nonNegativeNumber, positiveNumber, shareOrOne, wholeNumber } from "../option-parsers.ts";

/** What the options of `samplingFlags` give. */
export interface SamplingFlags {
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typical?: number;
  readonly repetitionPenalty?: number;
  readonly frequencyPenalty?: number;
  readonly presencePenalty?: number;
  readonly noRepeatNgram?: number;
}

/** How commands that write text let people choose tokens. */
export const samplingFlags = (): Option[] => [
  new Option("--temperature <number>", "below 1 likely tokens become likelier; 0 takes the likeliest")
    .argParser(nonNegativeNumber)
    .default(0.8),
  new Option("--top-k <n>", "draw among this many of the likeliest tokens").argParser(wholeNumber(1)),
  new Option("--top-p <share>", "draw among the likeliest tokens that make up this share").argParser(shareOrOne),
  new Option("--min-p <share>", "draw among tokens with this share of the likeliest one's probability").argParser(
    shareOrOne,
  ),
  new Option("--typical <share>", "draw among the tokens of typical surprise that make up this share").argParser(
    shareOrOne,
  ),
  new Option("--repetition-penalty <factor>", "above 1 makes tokens that were there rarer").argParser(positiveNumber),
  new Option("--frequency-penalty <number>", "taken from a token's logit each time it was written").argParser(
    finiteNumber,
  ),
  new Option("--presence-penalty <number>", "taken once from the logit of tokens that were written").argParser(
    finiteNumber,
  ),
  new Option("--no-repeat-ngram <n>", "no sequence of this many tokens comes twice").argParser(wholeNumber(1)),
];

/** The same for `generate`. */
export function samplingOf(flags: SamplingFlags): SamplingOptions {
  const { temperature, typical, noRepeatNgram, ...same } = flags;
  const { topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty } = same;
  const all = {
    ...{ temperature, topK, topP, minP, typicalP: typical, noRepeatNgramSize: noRepeatNgram },
    ...{ repetitionPenalty, frequencyPenalty, presencePenalty },
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
