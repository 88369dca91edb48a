import type { Family } from "../family.ts";
import { gptKind } from "./gpt-kind.ts";
import { gpt2Network, llamaNetwork } from "./networks.ts";
import { gptOptions } from "./options.ts";
import { gptPresets } from "./presets.ts";

export const gptFamily: Family = {
  name: "gpt",
  summary: "language model on text",
  options: gptOptions,
  kinds: [gptKind(gpt2Network), gptKind(llamaNetwork)],
  instead: "; it writes text with: genai generate RUN",
  presets: gptPresets,
};
