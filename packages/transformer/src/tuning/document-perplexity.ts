import { crossEntropy, type Engine, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import type { CausalLm } from "../causal-lm.ts";
import type { TokenBatch, TokenDocument } from "../packing.ts";
import type { Perplexity, ScoringOptions } from "../scoring.ts";
import { bucketWidth, checkDocument, padRows } from "./padded-batches.ts";

/**
 * How well a model predicts what is to be learned of documents that stand alone, such as the answers of held-out
 * conversations. For one long text see `perplexity`.
 *
 * @returns means over the tokens learned
 * @throws if a document fits no row of the model's blockSize or has nothing to learn; if the loss is NaN
 */
export async function documentPerplexity<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  documents: readonly TokenDocument[],
  options: ScoringOptions = {},
): Promise<Perplexity> {
  const caller = "documentPerplexity";
  const { batchSize = 8, signal } = options;
  if (documents.length === 0) throw new Error(`${caller}: got no documents; expected at least one`);
  const rows = documents
    .map((document, i) => checkDocument(caller, document, `document ${i}`, lm.blockSize))
    .sort((a, b) => a.ids.length - b.ids.length);
  const sumOf = engine.compile((params: P, { ids, targets }: TokenBatch) =>
    crossEntropy(lm.logits(params, ids), targets, { reduction: "sum" }),
  );
  let sum = 0;
  try {
    for (let first = 0; first < rows.length; first += batchSize) {
      throwIfAborted(caller, signal);
      const members = rows.slice(first, first + batchSize);
      const width = bucketWidth(members.at(-1)!.ids.length, lm.blockSize);
      // A last batch that is not full is filled up with rows that count for nothing, and shares a graph.
      const filled = [...members, ...new Array(batchSize - members.length).fill({ ids: [], targets: [] })];
      const batch = padRows(filled, width);
      const loss = await sumOf(params, batch).finally(() => treeDispose(batch));
      sum += (await loss.data().finally(() => loss.dispose()))[0]!;
    }
  } finally {
    sumOf.dispose();
  }
  const tokens = rows.reduce((n, { targets }) => n + targets.filter((id) => id !== -100).length, 0);
  const loss = sum / tokens;
  if (Number.isNaN(loss)) throw new Error(`${caller}: the loss is NaN; the parameters may have diverged in training`);
  return { perplexity: Math.exp(loss), loss, tokens };
}
