/** Thrown when work was stopped through an AbortSignal; `name` is "AbortError", as in the web platform. */
export class AbortError extends Error {
  override name = "AbortError";
  constructor(what: string, options?: ErrorOptions) {
    super(`${what}: aborted`, options);
  }
}

/** Throws an AbortError if the signal, when there is one, has fired. */
export function throwIfAborted(what: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError(what, { cause: signal.reason });
}

/** Thrown when an engine or device that was asked for cannot be had here; the message says what to install. */
export class EngineUnavailableError extends Error {
  override name = "EngineUnavailableError";
}

/** Thrown when a file or stream does not hold what its format demands. */
export class FormatError extends Error {
  override name = "FormatError";
}

/** Thrown when training has produced a value that is NaN or infinite. */
export class DivergenceError extends Error {
  override name = "DivergenceError";
  /** The step whose result is not finite, counted from 1. */
  readonly step: number;
  /** The values that are not finite, by the name of the metric or the path in the state. */
  readonly terms: Readonly<Record<string, number>>;
  constructor(message: string, step: number, terms: Readonly<Record<string, number>>) {
    super(message);
    this.step = step;
    this.terms = terms;
  }
}
