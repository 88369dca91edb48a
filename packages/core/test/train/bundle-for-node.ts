import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Bundles a TypeScript program, with the sources of our packages, so that a plain Node process runs it. */
export async function bundleForNode(entry: string, name: string): Promise<string> {
  // Below the package, so that the bundle finds its dependencies.
  const outDir = join(root, "node_modules", ".cache", "genai-test", `${name}-${process.pid}`);
  const conditions = ["@genai/source"];
  await build({
    root,
    configFile: false,
    logLevel: "error",
    ssr: { noExternal: [/^@genai\//], resolve: { conditions, externalConditions: conditions } },
    resolve: { conditions },
    build: {
      ssr: entry,
      outDir,
      emptyOutDir: true,
      minify: false,
      target: "node20",
      rollupOptions: {
        external: [/^@tensorflow\//, /^onnxruntime/, "webgpu"],
        output: { entryFileNames: `${name}.mjs`, chunkFileNames: "[name]-[hash].mjs" },
      },
    },
  });
  return join(outDir, `${name}.mjs`);
}
