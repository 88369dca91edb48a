import { type Engine, treeDispose } from "@genai/core";
import { convertLm } from "@genai/transformer";
import { Option } from "commander";
import { UsageError } from "../exit-code.ts";
import { deviceOption, openEngine } from "../open-engine.ts";
import { openAnyModel, type WritingModel } from "./text-model.ts";

// What generate, chat and serve open: a language model on an engine, prepared for writing.

export interface ModelFlags {
  readonly checkpoint: "best" | "latest";
  readonly adapter?: string;
  /** Bits of a weight. */
  readonly weights: "32" | "8" | "4";
  readonly device: string;
}

/** What `<model>` may be. */
export const modelArgument =
  "run folder of genai train gpt or finetune, folder of Hugging Face or genai quantize, or hf:OWNER/NAME";

/** The options that say which model writes, and on what. */
export function modelFlags(): Option[] {
  return [
    new Option("--checkpoint <which>", "of a run: the weights with the best validation loss, or the latest")
      .choices(["best", "latest"])
      .default("best"),
    new Option("--adapter <dir>", "adapter in PEFT's format to merge into the weights"),
    new Option("--weights <bits>", "round the weights to 8 or 4 bits: less memory, faster, a little less exact")
      .choices(["32", "8", "4"])
      .default("32"),
    deviceOption(),
  ];
}

/** Opens a model and an engine; the caller disposes of both. */
export async function openWritingModel(
  path: string,
  flags: ModelFlags,
  signal?: AbortSignal,
): Promise<{ model: WritingModel; engine: Engine }> {
  const { checkpoint, adapter, weights, device } = flags;
  const opened = await openAnyModel(path, {
    checkpoint,
    ...(signal && { signal }),
    ...(adapter !== undefined && { adapter }),
  });
  let engine: Engine | undefined;
  try {
    if ("bits" in opened) {
      checkRounded(path, opened.bits, flags);
      return { model: opened, engine: await openEngine(device) };
    }
    engine = await openEngine(device);
    // Only the compiled engine multiplies with weights in another form; others would turn them back at every step.
    if (weights === "32" && !engine.name.startsWith("onnx")) return { model: opened, engine };
    const format = ({ 32: "panels", 8: "int8", 4: "int4" } as const)[weights];
    const { lm, params } = await convertLm(opened.lm, opened.params, { format, consume: true });
    return { model: { ...opened, lm, params, dispose: () => treeDispose(params) }, engine };
  } catch (error) {
    opened.dispose();
    engine?.dispose();
    throw error;
  }
}

function checkRounded(path: string, bits: number, { checkpoint, adapter, weights }: ModelFlags): void {
  if (adapter !== undefined) {
    throw new UsageError(
      `${path} holds rounded weights, which take no adapter; round the model with it: genai quantize MODEL --adapter ${adapter}`,
    );
  }
  if (checkpoint === "latest") throw new UsageError(`${path} is no run folder; only runs have a latest checkpoint`);
  if (weights !== "32" && Number(weights) !== bits) {
    throw new UsageError(
      `${path} holds weights in ${bits} bits; --weights ${weights} needs the model that they were made of`,
    );
  }
}
