/** Whether Node's own modules can be imported. */
export const isNode = (): boolean => typeof process !== "undefined" && typeof process.versions?.node === "string";

/** An environment variable; undefined when it is unset or empty, and in browsers. */
export function environment(name: string): string | undefined {
  const value = typeof process === "undefined" ? undefined : process.env?.[name];
  return value === "" ? undefined : value;
}

/** Lower-case hexadecimal SHA-256. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  if (isNode()) {
    // Several times faster here than crypto.subtle, which copies its input.
    const { createHash } = await import("node:crypto");
    return createHash("sha256").update(bytes).digest("hex");
  }
  if (globalThis.crypto?.subtle === undefined) {
    throw new Error("sha256Hex: crypto.subtle is missing; expected a page served over https or from localhost");
  }
  const digest = await globalThis.crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
