// How a model on the hub is named: hf:OWNER/NAME@REVISION. The parts become folders of the cache, so nothing but plain
// names passes.

export interface HubName {
  /** OWNER/NAME; a few old models have no owner. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

/** Whether a source of a model names one on the hub. */
export const isHubName = (source: unknown): source is string => typeof source === "string" && source.startsWith("hf:");

/** Whether a revision is a commit, whose files never change. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/**
 * Reads `OWNER/NAME`, with `hf:` before it or not, and `@REVISION` behind it or not.
 *
 * @throws if it is no such name, or names two revisions.
 */
export function parseHubName(caller: string, text: string, revision?: string): HubName {
  const [, repo = "", own] = /^(?:hf:)?([^@]*)(?:@(.*))?$/s.exec(text) ?? [];
  const parts = repo.split("/");
  const plain = (part: string) => /^[\w.-]{1,96}$/.test(part) && !/^[.-]|[.-]$|--|\.\./.test(part);
  if (parts.length > 2 || !parts.every(plain)) {
    throw new Error(
      `${caller}: ${JSON.stringify(text)} names no model; expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION`,
    );
  }
  if (own !== undefined && revision !== undefined && own !== revision) {
    throw new Error(`${caller}: ${JSON.stringify(text)} and revision (${revision}) differ; expected one revision`);
  }
  const chosen = own ?? revision ?? "main";
  if (!/^[\w.-]+(\/[\w.-]+)*$/.test(chosen) || chosen.split("/").some((part) => /^\.+$/.test(part))) {
    throw new Error(`${caller}: revision (${chosen}) must be the name of a branch or tag, or a commit`);
  }
  return { repo, revision: chosen };
}
