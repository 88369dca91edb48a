import { EngineUnavailableError } from "../errors.ts";
import { loadFailure } from "./load-failure.ts";

export interface DawnOptions {
  /** Dawn's own switches for WebGPU in Node, such as `["adapter=SwiftShader"]`. */
  readonly dawnOptions?: readonly string[];
}

interface DawnModule {
  create(options: string[]): GPU;
  readonly globals: Record<string, unknown>;
}

/** Gives Node a `navigator.gpu` and the WebGPU globals from the `webgpu` package (Dawn), unless it already has them. */
export async function provideDawn({ dawnOptions = [] }: DawnOptions = {}): Promise<void> {
  if (typeof navigator === "object" && navigator.gpu) return;
  const specifier = "webgpu"; // In a variable, so that bundlers for the browser leave the native package alone.
  let dawn: DawnModule;
  try {
    dawn = (await import(/* @vite-ignore */ /* webpackIgnore: true */ specifier)) as DawnModule;
  } catch (error) {
    throw new EngineUnavailableError(
      `tfjs:webgpu cannot be had: the package webgpu (Dawn) ${loadFailure("webgpu", error)}; install it with: npm install webgpu`,
      { cause: error },
    );
  }
  const gpu = dawn.create([...dawnOptions]);
  for (const [name, value] of Object.entries(dawn.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  if (typeof navigator !== "object") {
    Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true, writable: true });
  }
  Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true });
}
