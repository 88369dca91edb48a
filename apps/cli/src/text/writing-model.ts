import { type Engine, treeDispose } from "@genai/core";
import { convertLm } from "@genai/transformer";
import { Option } from "commander";
import { deviceOption, openEngine } from "../open-engine.ts";
import { openTextModel, type WritingModel } from "./text-model.ts";

// What generate, chat and serve open: a language model on an engine, prepared for writing.

export interface ModelFlags {
  readonly checkpoint: "best" | "latest";
  readonly adapter?: string;
  /** Bits of a weight. */
  readonly weights: "32" | "8" | "4";
  readonly device: string;
}

/** What `<model>` may be. */
export const modelArgument = "run folder of genai train gpt or finetune, Hugging Face folder, or hf:OWNER/NAME";

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
  const plain = await openTextModel(path, {
    checkpoint,
    ...(signal && { signal }),
    ...(adapter !== undefined && { adapter }),
  });
  let engine: Engine | undefined;
  try {
    engine = await openEngine(device);
    // Only the compiled engine multiplies with weights in another form; others would turn them back at every step.
    if (weights === "32" && !engine.name.startsWith("onnx")) return { model: plain, engine };
    const format = ({ 32: "panels", 8: "int8", 4: "int4" } as const)[weights];
    const { lm, params } = await convertLm(plain.lm, plain.params, { format, consume: true });
    return { model: { ...plain, lm, params, dispose: () => treeDispose(params) }, engine };
  } catch (error) {
    plain.dispose();
    engine?.dispose();
    throw error;
  }
}
