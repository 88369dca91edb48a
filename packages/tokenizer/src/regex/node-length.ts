import type { AlternativeElementNode, AlternativeNode } from "./parse-pattern.ts";

/** Least and most code points that a node matches. */
export function nodeLength(node: AlternativeElementNode): readonly [number, number] {
  switch (node.type) {
    case "Character":
    case "CharacterClass":
      return [1, 1];
    case "CharacterSet":
      return node.kind === "newline" && node.negate !== true ? [1, 2] : [1, 1];
    case "CapturingGroup":
    case "Group":
      return alternativesLength(node.body);
    case "Quantifier": {
      const [least, most] = nodeLength(node.body as AlternativeElementNode);
      return [least * node.min, most === 0 ? 0 : most * node.max];
    }
    default:
      return [0, 0];
  }
}

/** The same of alternatives. */
export function alternativesLength(list: readonly AlternativeNode[]): readonly [number, number] {
  let least = Infinity;
  let most = 0;
  for (const alternative of list) {
    let low = 0;
    let high = 0;
    for (const node of alternative.body) {
      const [a, b] = nodeLength(node);
      low += a;
      high += b;
    }
    least = Math.min(least, low);
    most = Math.max(most, high);
  }
  return [least, most];
}
