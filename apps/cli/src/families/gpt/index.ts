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
  from: "fine-tune a run, a Hugging Face folder or hf:OWNER/NAME, which bring their vocabulary",
  examples: [
    "genai train gpt --data book.txt --out runs/book",
    "genai train gpt --data book.txt --preset baby --device cuda",
    "genai train gpt --data names.txt --documents lines --preset makemore",
    "genai train gpt --data letters/ --from runs/book",
  ],
  instead: "; it writes text with: genai generate RUN",
  presets: gptPresets,
};
