/** Thrown when a model cannot be had from the hub; the message says why and what to do. */
export class HubError extends Error {
  override name = "HubError";
  /** What the server answered; undefined when it was not reached. */
  readonly status: number | undefined;
  /** Whether the same request may do better in a while. */
  readonly temporary: boolean;

  constructor(
    message: string,
    options: ErrorOptions & { readonly status?: number; readonly temporary?: boolean } = {},
  ) {
    super(message, options);
    this.status = options.status;
    this.temporary = options.temporary ?? false;
  }
}

/** Thrown when a file is not what the hub says it is. */
export class HubDamageError extends HubError {
  override name = "HubDamageError";
}
