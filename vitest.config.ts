import { playwright } from "@vitest/browser-playwright";
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
// WebGPU over SwiftShader, so that the browser tests need no GPU.
import chromiumFlags from "./scripts/chromium-flags.json" with { type: "json" };

const conditions = ["@genai/source"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          environment: "node",
          include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts", "docs/**/*.test.ts"],
          exclude: ["**/node_modules/**", "**/*.browser.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        resolve: { conditions: [...conditions, ...defaultClientConditions] },
        // SharedArrayBuffer, and with it WebAssembly threads, exists on cross-origin isolated pages only.
        server: {
          headers: {
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp",
          },
        },
        // Named here so that vite bundles them before the first test instead of reloading the page in the middle of it.
        optimizeDeps: {
          include: [
            "@tensorflow/tfjs",
            "@tensorflow/tfjs-backend-wasm",
            "@tensorflow/tfjs-backend-webgpu",
            "@genai/datasets > env-paths",
            "@huggingface/hub",
            "@genai/onnx > pbf",
            "@genai/tokenizer > @huggingface/jinja",
            "@genai/tokenizer > oniguruma-parser/parser",
            "@genai/tokenizer > pbf",
          ],
          // Finds its .wasm files beside its own modules, so they must stay where they are.
          exclude: ["onnxruntime-web"],
        },
        test: {
          name: "browser",
          include: ["packages/*/test/**/*.browser.test.ts", "apps/*/test/**/*.browser.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: {
                executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
                args: chromiumFlags,
              },
            }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
