import type { HubClient, HubFile } from "./hub-client.ts";

/** What `loadPretrained` and `loadTokenizer` take: a folder (Node), or the files by name (browsers). */
export type DownloadedModel = string | Readonly<Record<string, Blob>>;

export interface StoreOptions {
  readonly caller: string;
  readonly repo: string;
  readonly endpoint: string;
  readonly cacheDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Where the files of one repository are kept, each whole or not at all. */
export interface HubStore {
  /** What messages call it. */
  readonly place: string;
  /** The commit that a revision was when its files came. */
  commitOf(revision: string): Promise<string | undefined>;
  remember(revision: string, commit: string): Promise<void>;
  /** The names of the files of a commit that are here. */
  names(commit: string): Promise<readonly string[]>;
  readText(commit: string, name: string): Promise<string>;
  /** Fetches a file unless it is here; `onBytes` hears how many of its bytes are. */
  add(commit: string, file: HubFile, client: HubClient, onBytes: (bytes: number) => void): Promise<void>;
  /** The files for readers. */
  open(commit: string, names: readonly string[]): Promise<DownloadedModel>;
}
