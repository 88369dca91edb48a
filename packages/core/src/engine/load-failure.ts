/** First line of an error's message. */
export function messageOf(error: unknown): string {
  const text =
    typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error);
  return text.split("\n")[0]!.trim();
}

/** Why an optional package did not load, to stand after its name. */
export function loadFailure(specifier: string, error: unknown): string {
  const message = messageOf(error);
  // tfjs-node says so when its install script could not download libtensorflow.
  if (/native addon module .*can not be found/.test(message)) {
    return "is installed without its native addon, which its install script could not download";
  }
  const { code } = (error ?? {}) as { code?: string };
  const missing =
    code === "ERR_MODULE_NOT_FOUND" ||
    code === "MODULE_NOT_FOUND" ||
    /Cannot find (module|package)|Could not resolve|Failed to resolve|optional-peer-dep/.test(message);
  // A package that is there may itself miss another.
  return missing && message.includes(specifier) ? "is not installed" : `does not load (${message})`;
}
