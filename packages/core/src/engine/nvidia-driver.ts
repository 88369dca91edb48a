import { isNode } from "./tfjs-backends.ts";

/**
 * Whether this machine can have an NVIDIA GPU in use. Asked before ONNX Runtime's CUDA provider, which prints its failure
 * on the terminal. Linux tells by its files; elsewhere the provider has to be tried.
 */
export async function mayHaveNvidiaDriver(): Promise<boolean> {
  if (!isNode() || process.platform !== "linux") return true;
  const { existsSync } = await import("node:fs");
  return ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));
}
