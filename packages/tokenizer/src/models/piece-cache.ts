import type { TokenSink } from "../stages.ts";

/** Longer pieces are seldom seen twice. */
const LONGEST = 64;

/** What a model made of the pieces that it saw last: ids, starts and ends, three numbers a token. */
export class PieceCache {
  readonly #entries = new Map<string, Int32Array>();
  readonly #limit: number;

  constructor(limit = 20_000) {
    this.#limit = limit;
  }

  /** Emits a known piece and says whether it was known. */
  emit(piece: string, emit: TokenSink): boolean {
    if (piece.length > LONGEST) return false;
    const found = this.#entries.get(piece);
    if (found === undefined) return false;
    for (let i = 0; i < found.length; i += 3) emit(found[i]!, found[i + 1]!, found[i + 2]!);
    return true;
  }

  /** Remembers a piece; when there are too many, all are forgotten. */
  add(piece: string, count: number, ids: Int32Array, starts: Int32Array, ends: Int32Array): void {
    if (piece.length > LONGEST) return;
    if (this.#entries.size >= this.#limit) this.#entries.clear();
    const tokens = new Int32Array(count * 3);
    for (let i = 0; i < count; i++) {
      tokens[3 * i] = ids[i]!;
      tokens[3 * i + 1] = starts[i]!;
      tokens[3 * i + 2] = ends[i]!;
    }
    this.#entries.set(piece, tokens);
  }
}
