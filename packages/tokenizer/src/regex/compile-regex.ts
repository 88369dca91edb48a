import { CodePointSet } from "../code-point-set.ts";
import { type Contains, type Flags, isLineBreak, singleCodePoint, withFlags } from "./node-code-points.ts";
import { alternativesLength, nodeLength } from "./node-length.ts";
import {
  type AlternativeElementNode,
  type AlternativeNode,
  parsePattern,
  type QuantifierNode,
} from "./parse-pattern.ts";

/** The program of the matcher: four numbers an instruction, the operation and its operands. */
export interface RegexProgram {
  readonly pattern: string;
  readonly code: Int32Array;
  readonly sets: readonly CodePointSet[];
  /** Registers that loops over possibly empty bodies use. */
  readonly registers: number;
}

/** Operations. `next` is the instruction that follows. */
export const op = {
  /** a: code point */
  char: 0,
  /** a: set */
  set: 1,
  /** Tries a, then b. */
  split: 2,
  jump: 3,
  /** As many code points of set a as there are between b and c, given back one by one. */
  greedyRun: 4,
  /** The same, never given back. */
  possessiveRun: 5,
  /** Matches the program behind it as a whole and goes on at a; nothing inside is tried again. */
  atomic: 6,
  /** a: where to go on; b: 1 when negated. */
  lookahead: 7,
  /** a: where to go on; b: 1 when negated; c: index into the lengths, see `minLength` * 1024 + `maxLength`. */
  lookbehind: 8,
  /** a: kind of assertion, see `assertion`. */
  assert: 9,
  /** Remembers the position in register a. */
  mark: 10,
  /** Goes to b when the position is still that of register a. */
  leaveWhenEmpty: 11,
  accept: 12,
  fail: 13,
} as const;

export const assertion = {
  lineStart: 0,
  lineEnd: 1,
  stringStart: 2,
  stringEnd: 3,
  stringEndNewline: 4,
  searchStart: 5,
  wordBoundary: 6,
  notWordBoundary: 7,
} as const;

const maxInstructions = 50_000;
const maxLookbehind = 255;

/** Compiles a regular expression in Oniguruma's (Ruby's) syntax. Throws an error that says what is not supported. */
export function compileRegex(pattern: string): RegexProgram {
  const compiler = new Compiler();
  compiler.alternatives(parsePattern(pattern), { ignoreCase: false, dotAll: false });
  compiler.emit(op.accept);
  return {
    pattern,
    code: Int32Array.from(compiler.code),
    sets: compiler.sets.map((contains) => new CodePointSet(contains)),
    registers: compiler.registers,
  };
}

class Compiler {
  readonly code: number[] = [];
  readonly sets: Contains[] = [];
  registers = 0;

  /** Appends an instruction and returns its index. */
  emit(operation: number, a = 0, b = 0, c = 0): number {
    if (this.code.length >= 4 * maxInstructions) throw new Error("is too large once its repetitions are written out");
    this.code.push(operation, a, b, c);
    return this.code.length / 4 - 1;
  }

  get here(): number {
    return this.code.length / 4;
  }

  patch(instruction: number, operand: 1 | 2 | 3, value: number): void {
    this.code[4 * instruction + operand] = value;
  }

  set(contains: Contains): number {
    this.sets.push(contains);
    return this.sets.length - 1;
  }

  alternatives(list: readonly AlternativeNode[], flags: Flags): void {
    const jumps: number[] = [];
    list.forEach((alternative, i) => {
      const isLast = i === list.length - 1;
      const split = isLast ? -1 : this.emit(op.split, this.here + 1);
      let current = flags;
      for (const node of alternative.body) {
        if (node.type === "Directive" && node.kind === "flags") current = withFlags(current, node.flags);
        else this.node(node, current);
      }
      if (!isLast) {
        jumps.push(this.emit(op.jump));
        this.patch(split, 2, this.here);
      }
    });
    for (const jump of jumps) this.patch(jump, 1, this.here);
  }

  node(node: AlternativeElementNode, flags: Flags): void {
    const single = singleCodePoint(node, flags);
    if (single !== null) {
      if (node.type === "Character" && !flags.ignoreCase) this.emit(op.char, node.value);
      else this.emit(op.set, this.set(single));
      return;
    }
    switch (node.type) {
      case "Assertion":
        this.emit(op.assert, assertionKind(node.kind, node.negate === true));
        return;
      case "CapturingGroup":
        this.alternatives(node.body, flags);
        return;
      case "Group": {
        const inner = withFlags(flags, node.flags);
        if (node.atomic === true) this.enclosed(op.atomic, () => this.alternatives(node.body, inner));
        else this.alternatives(node.body, inner);
        return;
      }
      case "LookaroundAssertion": {
        const negate = node.negate ? 1 : 0;
        if (node.kind === "lookahead") {
          this.enclosed(op.lookahead, () => this.alternatives(node.body, flags), negate);
        } else {
          const [least, most] = alternativesLength(node.body);
          if (most > maxLookbehind) throw new Error(`looks back by more than ${maxLookbehind} characters`);
          this.enclosed(op.lookbehind, () => this.alternatives(node.body, flags), negate, least * 1024 + most);
        }
        return;
      }
      case "Quantifier":
        this.quantifier(node, flags);
        return;
      case "CharacterSet":
        // Line breaks of any kind; the only set here that matches two characters.
        if (node.kind === "newline") {
          this.enclosed(op.atomic, () => {
            const split = this.emit(op.split, this.here + 1);
            this.emit(op.char, 0x0d);
            this.emit(op.char, 0x0a);
            const jump = this.emit(op.jump);
            this.patch(split, 2, this.here);
            this.emit(op.set, this.set(isLineBreak));
            this.patch(jump, 1, this.here);
          });
          return;
        }
        throw new Error(`uses \\X (a whole grapheme), which is not supported`);
      default:
        throw new Error(`uses ${unsupported[node.type] ?? node.type}, which is not supported`);
    }
  }

  enclosed(operation: number, body: () => void, b = 0, c = 0): void {
    const start = this.emit(operation, 0, b, c);
    body();
    this.emit(op.accept);
    this.patch(start, 1, this.here);
  }

  quantifier(node: QuantifierNode, flags: Flags): void {
    const { min, kind, body } = node;
    const max = Number.isFinite(node.max) ? node.max : 0x7fffffff;
    const single = singleCodePoint(body, flags);
    if (single !== null && kind !== "lazy") {
      this.emit(kind === "possessive" ? op.possessiveRun : op.greedyRun, this.set(single), min, max);
      return;
    }
    if (kind === "possessive") {
      this.enclosed(op.atomic, () => this.repeat(node, max, flags, false));
      return;
    }
    this.repeat(node, max, flags, kind === "lazy");
  }

  repeat(node: QuantifierNode, max: number, flags: Flags, lazy: boolean): void {
    const body = () => this.node(node.body as AlternativeElementNode, flags);
    for (let i = 0; i < node.min; i++) body();
    const split = (): number => this.emit(op.split);
    const setBranches = (at: number, into: number, out: number): void => {
      this.patch(at, 1, lazy ? out : into);
      this.patch(at, 2, lazy ? into : out);
    };
    if (max === 0x7fffffff) {
      const mayBeEmpty = nodeLength(node.body as AlternativeElementNode)[0] === 0;
      const at = split();
      const register = this.registers;
      if (mayBeEmpty) {
        this.registers++;
        this.emit(op.mark, register);
      }
      body();
      const check = mayBeEmpty ? this.emit(op.leaveWhenEmpty, register) : -1;
      this.emit(op.jump, at);
      if (check >= 0) this.patch(check, 2, this.here);
      setBranches(at, at + 1, this.here);
      return;
    }
    const splits: number[] = [];
    for (let i = node.min; i < max; i++) {
      splits.push(split());
      body();
    }
    for (const at of splits) setBranches(at, at + 1, this.here);
  }
}

const unsupported: Readonly<Record<string, string>> = {
  Backreference: "a backreference",
  Subroutine: "a subroutine",
  AbsenceFunction: "an absence function",
  NamedCallout: "a callout",
  Directive: "\\K",
};

function assertionKind(kind: string, negate: boolean): number {
  switch (kind) {
    case "line_start":
      return assertion.lineStart;
    case "line_end":
      return assertion.lineEnd;
    case "string_start":
      return assertion.stringStart;
    case "string_end":
      return assertion.stringEnd;
    case "string_end_newline":
      return assertion.stringEndNewline;
    case "search_start":
      return assertion.searchStart;
    case "word_boundary":
      return negate ? assertion.notWordBoundary : assertion.wordBoundary;
    default:
      throw new Error(`uses an assertion (${kind}) that is not supported`);
  }
}
