import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { loadFailure } from "../../src/engine/load-failure.ts";
import { importTfjsNode } from "../../src/engine/tfjs-node.ts";

test("a package that is missing is told from one that is broken", async () => {
  const specifier = "@tensorflow/tfjs-node-gpu";
  const missing = await import(/* @vite-ignore */ specifier).catch((error: unknown) => error);
  expect(loadFailure(specifier, missing)).toBe("is not installed");
  expect(loadFailure("webgpu", missing)).toMatch(/^does not load \(.*tfjs-node-gpu/);
});

test("tfjs-node without its native addon is recognised by what it throws", () => {
  // As thrown by 4.22.0 after npm install --ignore-scripts.
  const error = new Error(
    "The Node.js native addon module (tfjs_binding.node) can not be found at path: /x/lib/napi-v8/tfjs_binding.node. \nPlease run command 'npm rebuild @tensorflow/tfjs-node --build-addon-from-source' to rebuild the native addon module. ",
  );
  expect(loadFailure("@tensorflow/tfjs-node", error)).toBe(
    "is installed without its native addon, which its install script could not download",
  );
});

test("util.isNullOrUndefined, which Node 23 removed and tfjs-node calls, is there before tfjs-node loads", async () => {
  const util = createRequire(import.meta.url)("node:util") as { isNullOrUndefined?: (value: unknown) => boolean };
  const original = util.isNullOrUndefined;
  delete util.isNullOrUndefined;
  await importTfjsNode("cpu").catch(() => {});
  expect([null, undefined, 0].map((value) => util.isNullOrUndefined?.(value))).toEqual([true, true, false]);
  if (original) util.isNullOrUndefined = original;
});
