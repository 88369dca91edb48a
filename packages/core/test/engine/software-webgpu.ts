import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";

/**
 * Points Dawn at Chromium's SwiftShader, so that WebGPU works in Node without a GPU. Call it before the first use of
 * WebGPU. Returns why that is impossible here, or undefined.
 */
export function useSoftwareWebgpu(): string | undefined {
  if (process.platform !== "linux") return "SwiftShader is looked for on Linux only";
  if (process.env.VK_DRIVER_FILES) return undefined; // Somebody has chosen a driver already.
  const folders = ["/usr/lib/chromium", "/usr/lib/chromium-browser", dirname(process.env.CHROMIUM_PATH ?? "/")];
  const folder = folders.find((path) => existsSync(join(path, "vk_swiftshader_icd.json")));
  if (!folder) return "no Chromium with SwiftShader is installed";
  process.env.VK_DRIVER_FILES = join(folder, "vk_swiftshader_icd.json");
  const loader = join(folder, "libvulkan.so.1");
  if (existsSync(loader)) {
    // Dawn asks for "libvulkan.so.1" by name, and finds the one that is loaded already. It is no Node addon, so that
    // process.dlopen complains after loading it; RTLD_NODELETE (0x1000) keeps it.
    try {
      process.dlopen({ exports: {} }, loader, constants.dlopen.RTLD_NOW | 0x1000);
    } catch {}
  }
  return undefined;
}
