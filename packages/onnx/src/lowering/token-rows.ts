import type { Value } from "../graph/graph.ts";

/**
 * The rows [B, ...] of a decoding step, a token each, as [B, 1, ...], if that is what they were reshaped from. Attention takes and
 * gives them so; an operator on rows that keeps the shape, and reshapes its result, leaves no reshape between the two. Each
 * operator of a step costs microseconds, reshapes too: what it needs has left the caches since the last token.
 */
export function tokenRows(rows: Value): Value {
  const { shape, node } = rows;
  if (node?.op !== "Reshape") return rows;
  const source = node.inputs[0]!;
  const isTokens = source.shape.length === shape.length + 1 && source.shape[0] === shape[0] && source.shape[1] === 1;
  return isTokens ? source : rows;
}
