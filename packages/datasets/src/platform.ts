/** Whether Node's own modules can be imported. */
export const isNode = (): boolean => typeof process !== "undefined" && typeof process.versions?.node === "string";

/** An environment variable; undefined when it is unset or empty, and in browsers. */
export function environment(name: string): string | undefined {
  const value = typeof process === "undefined" ? undefined : process.env?.[name];
  return value === "" ? undefined : value;
}

/** Why a file or folder cannot be read, in words where Node has but a code. */
export function whyUnreadable(cause: unknown): string {
  const { code = "", message } = cause as { code?: string; message?: string };
  const words: Partial<Record<string, string>> = {
    ENOENT: "it is not there",
    EISDIR: "it is a folder",
    ENOTDIR: "it is no folder",
    EACCES: "reading it is not permitted",
  };
  return words[code] ?? message ?? String(cause);
}

/** A SHA-256 that is fed part by part. */
export interface Sha256 {
  update(part: Uint8Array): void;
  /** Lower-case hexadecimal. */
  hex(): string;
}

/** The platform's own SHA-256 of parts, where there is one: in Node. Browsers know that of a whole only. */
export async function sha256OfParts(): Promise<Sha256 | undefined> {
  if (!isNode()) return undefined;
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  return { update: (part) => hash.update(part), hex: () => hash.digest("hex") };
}

/** Lower-case hexadecimal SHA-256. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  // Several times faster in Node than crypto.subtle, which copies its input.
  const hash = await sha256OfParts();
  if (hash !== undefined) {
    hash.update(bytes);
    return hash.hex();
  }
  if (globalThis.crypto?.subtle === undefined) {
    throw new Error("sha256Hex: crypto.subtle is missing; expected a page served over https or from localhost");
  }
  const digest = await globalThis.crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
