import type { Options } from "tsup";

/** A package that others install: ES modules with types and source maps. Dependencies and peers stay outside. */
export function library(overrides: Options = {}): Options {
  return {
    entry: ["src/index.ts"],
    format: "esm",
    target: "es2022",
    platform: "neutral",
    dts: true,
    sourcemap: true,
    clean: true,
    removeNodeProtocol: false,
    external: [/^node:/, /^@genai\//, /^@tensorflow\//, /^onnxruntime-/, "webgpu"],
    ...overrides,
  };
}

/** A program that runs in Node. */
export function program(overrides: Options = {}): Options {
  return library({
    entry: ["src/main.ts"],
    platform: "node",
    target: "node20",
    dts: false,
    // In place of a "#!" line in the source: two of them would be a syntax error.
    banner: { js: "#!/usr/bin/env node" },
    splitting: true,
    ...overrides,
  });
}
