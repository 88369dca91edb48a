import { CodePointSet } from "../code-point-set.ts";
import type { RegexProgram } from "./compile-regex.ts";
import { assertion, compileRegex, op } from "./compile-regex.ts";

/** Oniguruma's \w. */
const regexWord = CodePointSet.matching("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe]");

/** Steps that one search over a text may take: far more than a sane pattern needs, and soon over for one that explodes. */
const baseSteps = 2_000_000;
const stepsPerUnit = 200;

/**
 * A regular expression in Oniguruma's syntax that cannot hang: matching backtracks on a stack of its own and counts its
 * steps. It knows what patterns of tokenizers use: classes, properties, lazy and possessive quantifiers, atomic groups,
 * lookarounds, `(?i:...)`; not backreferences.
 */
export class BoundedRegex {
  readonly #program: RegexProgram;
  readonly #registers: Int32Array;
  readonly #stack: number[] = [];
  #text = "";
  #searchStart = 0;
  #lookbehindEnd = -1;
  #steps = 0;

  /** Throws an error whose message starts with a verb: what about the pattern cannot be used. */
  constructor(pattern: string) {
    this.#program = compileRegex(pattern);
    this.#registers = new Int32Array(this.#program.registers);
  }

  /** Calls `found` with each match [start, end) from left to right. Throws when the pattern backtracks without end. */
  forEachMatch(text: string, found: (start: number, end: number) => void): void {
    this.#text = text;
    this.#steps = baseSteps + stepsPerUnit * text.length;
    let lastEnd = -1;
    for (let start = 0; start <= text.length; ) {
      this.#searchStart = start;
      let at = start;
      let end = -1;
      while (at <= text.length) {
        end = this.#run(0, at);
        if (end >= 0) break;
        at += at < text.length && text.codePointAt(at)! > 0xffff ? 2 : 1;
      }
      if (end < 0) break;
      // An empty match right behind a match is none of its own.
      if (end > at || at !== lastEnd) found(at, end);
      lastEnd = end;
      start = end > at ? end : end + (end < text.length && text.codePointAt(end)! > 0xffff ? 2 : 1);
    }
    this.#text = "";
  }

  /** Matches the program from `pc` at `pos` and returns the end of the match, or -1. */
  #run(pc: number, pos: number): number {
    const { code, sets } = this.#program;
    const text = this.#text;
    const stack = this.#stack;
    const registers = this.#registers;
    const bottom = stack.length;
    for (;;) {
      if (--this.#steps < 0) {
        stack.length = 0;
        throw new Error(`the pattern ${JSON.stringify(this.#program.pattern)} backtracks without end on this text`);
      }
      const at = 4 * pc;
      let failed = false;
      switch (code[at]) {
        case op.char: {
          const c = code[at + 1]!;
          if (pos < text.length && text.codePointAt(pos) === c) {
            pos += c > 0xffff ? 2 : 1;
            pc++;
          } else failed = true;
          break;
        }
        case op.set: {
          const c = pos < text.length ? text.codePointAt(pos)! : -1;
          if (c >= 0 && sets[code[at + 1]!]!.has(c)) {
            pos += c > 0xffff ? 2 : 1;
            pc++;
          } else failed = true;
          break;
        }
        case op.split:
          stack.push(code[at + 2]!, pos, -1);
          pc = code[at + 1]!;
          break;
        case op.jump:
          pc = code[at + 1]!;
          break;
        case op.greedyRun:
        case op.possessiveRun: {
          const set = sets[code[at + 1]!]!;
          const least = code[at + 2]!;
          const most = code[at + 3]!;
          let count = 0;
          let earliest = pos;
          while (count < most && pos < text.length) {
            const c = text.codePointAt(pos)!;
            if (!set.has(c)) break;
            pos += c > 0xffff ? 2 : 1;
            if (++count === least) earliest = pos;
          }
          this.#steps -= count;
          if (count < least) failed = true;
          else {
            pc++;
            if (code[at] === op.greedyRun && pos > earliest) stack.push(pc, pos, earliest);
          }
          break;
        }
        case op.atomic: {
          const outer = this.#lookbehindEnd;
          this.#lookbehindEnd = -1;
          const end = this.#run(pc + 1, pos);
          this.#lookbehindEnd = outer;
          if (end < 0) failed = true;
          else {
            pos = end;
            pc = code[at + 1]!;
          }
          break;
        }
        case op.lookahead: {
          const outer = this.#lookbehindEnd;
          this.#lookbehindEnd = -1;
          const matches = this.#run(pc + 1, pos) >= 0;
          this.#lookbehindEnd = outer;
          if (matches === (code[at + 2] === 0)) pc = code[at + 1]!;
          else failed = true;
          break;
        }
        case op.lookbehind:
          if (this.#looksBehind(pc, pos) === (code[at + 2] === 0)) pc = code[at + 1]!;
          else failed = true;
          break;
        case op.assert:
          if (this.#holds(code[at + 1]!, pos)) pc++;
          else failed = true;
          break;
        case op.mark: {
          const register = code[at + 1]!;
          // Undone when the search backs out: a marker below any position, the register and its old value.
          stack.push(-2 - register, registers[register]!, -1);
          registers[register] = pos;
          pc++;
          break;
        }
        case op.leaveWhenEmpty:
          pc = registers[code[at + 1]!] === pos ? code[at + 2]! : pc + 1;
          break;
        case op.accept:
          if (this.#lookbehindEnd < 0 || pos === this.#lookbehindEnd) {
            stack.length = bottom;
            return pos;
          }
          failed = true;
          break;
        default:
          failed = true;
      }
      if (!failed) continue;
      // Back to the last choice.
      for (;;) {
        if (stack.length === bottom) return -1;
        const earliest = stack.pop()!;
        const saved = stack.pop()!;
        const target = stack.pop()!;
        if (target < 0) {
          registers[-2 - target] = saved;
          continue;
        }
        pc = target;
        pos = saved;
        if (earliest >= 0) {
          // A run gives one code point back.
          const unit = text.charCodeAt(pos - 1);
          pos -= unit >= 0xdc00 && unit <= 0xdfff && pos - 2 >= earliest && isHighSurrogate(text, pos - 2) ? 2 : 1;
          if (pos > earliest) stack.push(pc, pos, earliest);
        }
        break;
      }
    }
  }

  #looksBehind(pc: number, pos: number): boolean {
    const lengths = this.#program.code[4 * pc + 3]!;
    const least = lengths >> 10;
    const most = lengths & 1023;
    const outer = this.#lookbehindEnd;
    this.#lookbehindEnd = pos;
    let start = pos;
    let found = false;
    for (let count = 0; count <= most && !found; count++) {
      if (count >= least) found = this.#run(pc + 1, start) >= 0;
      if (start === 0) break;
      start -= start >= 2 && isHighSurrogate(this.#text, start - 2) && isLowSurrogate(this.#text, start - 1) ? 2 : 1;
    }
    this.#lookbehindEnd = outer;
    return found;
  }

  #holds(kind: number, pos: number): boolean {
    const text = this.#text;
    switch (kind) {
      case assertion.lineStart:
        return pos === 0 || (text.charCodeAt(pos - 1) === 0x0a && pos < text.length);
      case assertion.lineEnd:
        return pos === text.length || text.charCodeAt(pos) === 0x0a;
      case assertion.stringStart:
        return pos === 0;
      case assertion.stringEnd:
        return pos === text.length;
      case assertion.stringEndNewline:
        return pos === text.length || (pos === text.length - 1 && text.charCodeAt(pos) === 0x0a);
      case assertion.searchStart:
        return pos === this.#searchStart;
      default: {
        const before = pos > 0 && regexWord.has(codePointBefore(text, pos));
        const after = pos < text.length && regexWord.has(text.codePointAt(pos)!);
        return (before !== after) === (kind === assertion.wordBoundary);
      }
    }
  }
}

function isHighSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLowSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

function codePointBefore(text: string, pos: number): number {
  if (pos >= 2 && isLowSurrogate(text, pos - 1) && isHighSurrogate(text, pos - 2)) return text.codePointAt(pos - 2)!;
  return text.charCodeAt(pos - 1);
}
