import type {
  AlternativeElementNode,
  CharacterClassElementNode,
  CharacterClassNode,
  CharacterSetNode,
  FlagGroupModifiers,
  QuantifierNode,
} from "./parse-pattern.ts";

// Which code points the nodes of a pattern match: letters, sets, and classes of them, as Oniguruma has them.

export type Contains = (codePoint: number) => boolean;

/** What a pattern can switch on and off on its way. */
export interface Flags {
  readonly ignoreCase: boolean;
  readonly dotAll: boolean;
}

export function withFlags(flags: Flags, change: FlagGroupModifiers | undefined): Flags {
  if (change === undefined) return flags;
  return {
    ignoreCase: change.disable?.ignoreCase ? false : change.enable?.ignoreCase ? true : flags.ignoreCase,
    dotAll: change.disable?.dotAll ? false : change.enable?.dotAll ? true : flags.dotAll,
  };
}

/** The test of a node that matches exactly one code point, or null. */
export function singleCodePoint(node: AlternativeElementNode | QuantifierNode["body"], flags: Flags): Contains | null {
  if (node.type === "Character") return caseBlind((c) => c === node.value, flags);
  if (node.type === "CharacterClass") return characterClass(node, flags);
  if (node.type === "CharacterSet") {
    if (node.kind === "text_segment" || (node.kind === "newline" && node.negate !== true)) return null;
    return characterSet(node, flags);
  }
  if (node.type === "Group" && node.body.length === 1 && node.body[0]!.body.length === 1 && node.atomic !== true) {
    const only = node.body[0]!.body[0]!;
    if (only.type === "Directive") return null;
    return singleCodePoint(only, withFlags(flags, node.flags));
  }
  return null;
}

function characterClass(node: CharacterClassNode, flags: Flags): Contains {
  const tests = node.body.map((element) => classElement(element, flags));
  const found: Contains =
    node.kind === "intersection" ? (c) => tests.every((test) => test(c)) : (c) => tests.some((test) => test(c));
  return node.negate ? (c) => !found(c) : found;
}

function classElement(element: CharacterClassElementNode, flags: Flags): Contains {
  switch (element.type) {
    case "Character":
      return caseBlind((c) => c === element.value, flags);
    case "CharacterClassRange": {
      const { min, max } = element;
      return caseBlind((c) => c >= min.value && c <= max.value, flags);
    }
    case "CharacterClass":
      return characterClass(element, flags);
    case "CharacterSet":
      return characterSet(element, flags);
  }
}

function caseBlind(contains: Contains, flags: Flags): Contains {
  if (!flags.ignoreCase) return contains;
  return (c) => {
    if (contains(c)) return true;
    // The Turkish letters fold to nothing but themselves.
    if (c === 0x130 || c === 0x131) return false;
    const letter = String.fromCodePoint(c);
    const upper = letter.toUpperCase();
    // Simple case folding: full mappings to several characters do not count.
    return [letter.toLowerCase(), upper, upper.toLowerCase()].some((other) => {
      const codePoint = other.codePointAt(0)!;
      return String.fromCodePoint(codePoint) === other && contains(codePoint);
    });
  };
}

export function isLineBreak(c: number): boolean {
  return (c >= 0x0a && c <= 0x0d) || c === 0x85 || c === 0x2028 || c === 0x2029;
}

const posix: Readonly<Record<string, string>> = {
  alnum: "[\\p{Alphabetic}\\p{Nd}]",
  alpha: "\\p{Alphabetic}",
  ascii: "[\\0-\\x7f]",
  blank: "[\\p{Zs}\\t]",
  cntrl: "\\p{Cc}",
  digit: "\\p{Nd}",
  graph: "[^\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}]",
  lower: "\\p{Lowercase}",
  print: "[^\\p{Cc}\\p{Cn}\\p{Cs}\\u2028\\u2029]",
  punct: "[\\p{P}\\p{S}]",
  space: "\\p{White_Space}",
  upper: "\\p{Uppercase}",
  word: "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]",
  xdigit: "[0-9a-fA-F]",
};

function characterSet(node: CharacterSetNode, flags: Flags): Contains {
  const found = unnegatedSet(node, flags);
  return node.negate === true ? (c) => !found(c) : found;
}

function unnegatedSet(node: CharacterSetNode, flags: Flags): Contains {
  switch (node.kind) {
    case "any":
      return () => true;
    case "dot":
      return flags.dotAll ? () => true : (c) => c !== 0x0a;
    case "digit":
      return javascriptSet("\\p{Nd}");
    case "hex":
      return javascriptSet("[0-9a-fA-F]");
    case "newline":
      return (c) => c === 0x0a;
    case "space":
      return javascriptSet("\\p{White_Space}");
    case "word":
      return javascriptSet("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe]");
    case "posix":
      return javascriptSet(posix[node.value] ?? "");
    case "property":
      return propertySet(node.value);
    default:
      throw new Error(`uses a set of characters (${node.kind}) that is not supported`);
  }
}

function javascriptSet(source: string): Contains {
  const regex = new RegExp(`^${source}$`, "u");
  return (c) => regex.test(String.fromCodePoint(c));
}

function propertySet(name: string): Contains {
  const lower = name.toLowerCase().replace(/[\s-]+/g, "_");
  const title = lower.replace(/(^|_)[a-z]/g, (letter) => letter.toUpperCase());
  if (lower === "punct") return javascriptSet("\\p{P}");
  if (posix[lower] !== undefined) return javascriptSet(posix[lower]);
  for (const candidate of [name, title, lower.toUpperCase(), `Script=${name}`, `Script=${title}`]) {
    try {
      return javascriptSet(`\\p{${candidate}}`);
    } catch {
      // Not a name of this kind.
    }
  }
  throw new Error(`names a Unicode property (${name}) that is not known`);
}
