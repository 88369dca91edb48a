import { EngineUnavailableError } from "../errors.ts";
import { loadFailure } from "./load-failure.ts";

/**
 * Loads tfjs-node, whose import registers the `tensorflow` backend. The names stay in variables so that bundlers for the
 * browser leave the native package alone.
 */
export async function importTfjsNode(build: "auto" | "cpu" | "gpu"): Promise<void> {
  await restoreIsNullOrUndefined();
  const packages = {
    auto: ["@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-node"],
    cpu: ["@tensorflow/tfjs-node"],
    gpu: ["@tensorflow/tfjs-node-gpu"],
  }[build];
  const failures: string[] = [];
  for (const specifier of packages) {
    try {
      await import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
      return;
    } catch (error) {
      failures.push(`${specifier} ${loadFailure(specifier, error)}`);
    }
  }
  throw new EngineUnavailableError(
    `tfjs:tensorflow cannot be had: ${failures.join(", ")}; install it with: npm install ${packages.at(-1)}@4.22.0`,
  );
}

/** tfjs-node calls `util.isNullOrUndefined`, which Node 23 removed. */
async function restoreIsNullOrUndefined(): Promise<void> {
  const { createRequire } = await import("node:module");
  const util = createRequire(import.meta.url)("node:util") as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
}
