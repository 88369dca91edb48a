import { createEngine, DEVICES, type Device, type Engine } from "@genai/core";
import { Option } from "commander";
import { UsageError } from "./exit-code.ts";

/** `--device`, with a device or an engine's full name. */
export const deviceOption = () =>
  new Option("--device <name>", `what to compute on: ${DEVICES.join(", ")}, or an engine such as tfjs:wasm`).default(
    "auto",
  );

/** Creates the engine that `--device` names. Throws EngineUnavailableError if it cannot be had here. */
export async function openEngine(name: string): Promise<Engine> {
  const options = threadOptions();
  if (name.includes(":")) {
    try {
      return await createEngine(name, options);
    } catch (error) {
      if (error instanceof Error && error.message.includes("is unknown")) throw new UsageError(error.message);
      throw error;
    }
  }
  if (!(DEVICES as readonly string[]).includes(name)) {
    throw new UsageError(`No device is called ${name}; there is ${DEVICES.join(", ")}, or an engine such as tfjs:wasm`);
  }
  return createEngine({ device: name as Device, ...options });
}

/** GENAI_THREADS: where other programs want the cores too, threads that wait for one another lose more than they gain. */
function threadOptions(): { readonly threads?: number } {
  const text = process.env.GENAI_THREADS;
  if (text === undefined || text === "") return {};
  const threads = Number(text);
  if (Number.isSafeInteger(threads) && threads >= 1) return { threads };
  throw new UsageError(`GENAI_THREADS is ${JSON.stringify(text)}; expected a whole number of at least 1`);
}
