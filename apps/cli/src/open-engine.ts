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
  if (name.includes(":")) {
    try {
      return await createEngine(name);
    } catch (error) {
      if (error instanceof Error && error.message.includes("is unknown")) throw new UsageError(error.message);
      throw error;
    }
  }
  if (!(DEVICES as readonly string[]).includes(name)) {
    throw new UsageError(`No device is called ${name}; there is ${DEVICES.join(", ")}, or an engine such as tfjs:wasm`);
  }
  return createEngine({ device: name as Device });
}
