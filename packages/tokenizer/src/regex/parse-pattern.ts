import type { AlternativeNode, GroupNode, QuantifierNode as ParsedQuantifier } from "oniguruma-parser/parser";
import { parse } from "oniguruma-parser/parser";

export type {
  AlternativeElementNode,
  AlternativeNode,
  CharacterClassElementNode,
  CharacterClassNode,
  CharacterSetNode,
} from "oniguruma-parser/parser";
export type QuantifierNode = ParsedQuantifier;
export type FlagGroupModifiers = NonNullable<GroupNode["flags"]>;

/** The alternatives of a regular expression in Oniguruma's syntax. */
export function parsePattern(pattern: string): readonly AlternativeNode[] {
  return parse(pattern, { skipPropertyNameValidation: true }).body;
}
