import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** Packages that engines come from. */
export const enginePackages = [
  "@tensorflow/tfjs",
  "@tensorflow/tfjs-backend-wasm",
  "@tensorflow/tfjs-backend-webgpu",
  "@tensorflow/tfjs-node",
  "@tensorflow/tfjs-node-gpu",
  "onnxruntime-node",
  "webgpu",
] as const;

/** Versions of those engine packages that are installed. */
export function installedVersions(): Record<string, string> {
  const { resolve } = createRequire(import.meta.url);
  const versions: Record<string, string> = {};
  for (const name of enginePackages) {
    // Not `resolve(name/package.json)`: a package's exports may keep that file to itself.
    for (const folder of resolve.paths(name) ?? []) {
      const file = join(folder, name, "package.json");
      if (!existsSync(file)) continue;
      versions[name] = (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
      break;
    }
  }
  return versions;
}
