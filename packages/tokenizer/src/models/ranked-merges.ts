import type { BpeJson } from "../tokenizer-json.ts";
import { MergeTable } from "./merge-table.ts";
import type { Vocabulary } from "./vocabulary.ts";

// tiktoken and SentencePiece have no list of merges: any two neighbours merge whose concatenation is a token, the token
// of the best rank first. Spelling that out takes some three merges a token, so the readers of those files leave it to
// `rankedBpe`, which lists the merges only when somebody asks for them, as `tokenizer.toJson()` does.

const ranksOfModels = new WeakMap<object, Int32Array>();

/**
 * A BPE description whose merges follow from ranks by id; a token of rank -1 is not part of any merge.
 * @param splits the order of one token's splits in the list of merges, as Hugging Face's converters have it.
 */
export function rankedBpe(
  model: Omit<BpeJson, "merges">,
  ranks: Int32Array,
  splits: "smallest ids first" | "longest left part first",
): BpeJson {
  let merges: [string, string][] | undefined;
  const described: BpeJson = {
    ...model,
    get merges() {
      merges ??= listMerges(model.vocab, ranks, splits);
      return merges;
    },
  };
  ranksOfModels.set(described, ranks);
  return described;
}

/** The ranks that `rankedBpe` was given, for descriptions that it made. */
export const ranksOf = (model: BpeJson): Int32Array | undefined => ranksOfModels.get(model);

/** Entries of a lazily filled table; more are forgotten before the next piece. */
const REMEMBERED = 1 << 20;

/** The table of merges that ranks imply, filled as pairs meet. */
export function rankedMergeTable({ ids, tokens }: Vocabulary, ranks: Int32Array): MergeTable {
  return new MergeTable(1 << 14, (left, right, table) => {
    const rankOf = (id: number) => ranks[id] ?? -1;
    const id = rankOf(left) < 0 || rankOf(right) < 0 ? undefined : ids.get(tokens[left]! + tokens[right]!);
    if (id === undefined || rankOf(id) < 0) table.add(left, right, 0, -1);
    else table.add(left, right, rankOf(id), id);
  });
}

/** Forgets remembered pairs when there are too many; between pieces only. */
export function trimMergeTable(table: MergeTable): void {
  if (table.size > REMEMBERED) table.clear();
}

function listMerges(
  vocab: BpeJson["vocab"],
  ranks: Int32Array,
  splits: "smallest ids first" | "longest left part first",
): [string, string][] {
  const ids = new Map(Object.entries(vocab));
  const ranked = [...ids].filter(([, id]) => (ranks[id] ?? -1) >= 0);
  ranked.sort((a, b) => ranks[a[1]]! - ranks[b[1]]!);
  const merges: [string, string][] = [];
  for (const [token] of ranked) {
    const local: { left: string; right: string; leftId: number; rightId: number }[] = [];
    for (let at = token.length - 1; at > 0; at--) {
      const left = token.slice(0, at);
      const leftId = ids.get(left);
      if (leftId === undefined || (ranks[leftId] ?? -1) < 0) continue;
      const right = token.slice(at);
      const rightId = ids.get(right);
      if (rightId === undefined || (ranks[rightId] ?? -1) < 0) continue;
      local.push({ left, right, leftId, rightId });
    }
    if (splits === "smallest ids first") local.sort((a, b) => a.leftId - b.leftId || a.rightId - b.rightId);
    for (const { left, right } of local) merges.push([left, right]);
  }
  return merges;
}
