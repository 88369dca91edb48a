import { EngineUnavailableError } from "@genai/core";
import { DataUnavailableError } from "@genai/datasets";
import { HubError } from "@genai/transformer";
import { CommanderError } from "commander";

/** What the program's exit status tells a script. */
export const exitCode = { ok: 0, failure: 1, usage: 2, unavailable: 3, interrupted: 130 } as const;

export const exitCodeHelp = `
Exit codes:
  0    done
  1    the work failed, or a stated number was missed
  2    the command line is wrong
  3    something it needs cannot be had here (an engine, a device, a data set, a model)
  130  interrupted; what was trained so far is saved`;

/** The command line asks for something that does not exist or does not fit. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** Training was stopped by a signal after its state had been saved. */
export class InterruptedError extends Error {
  override name = "InterruptedError";
}

/** The exit status for an error that ended a command. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  if (error instanceof UsageError) return exitCode.usage;
  const unavailable = [EngineUnavailableError, DataUnavailableError, HubError];
  if (unavailable.some((kind) => error instanceof kind)) return exitCode.unavailable;
  if (error instanceof InterruptedError || (error instanceof Error && error.name === "AbortError")) {
    return exitCode.interrupted;
  }
  return exitCode.failure;
}
