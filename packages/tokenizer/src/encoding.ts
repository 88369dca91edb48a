/** The tokens of a text, or of a pair of texts. Everything but `ids` is worked out when it is first asked for. */
export interface Encoding {
  readonly ids: Int32Array;
  readonly length: number;
  /** The vocabulary's token of each id. */
  readonly tokens: readonly string[];
  /** The range [start, end) of the text that each token stands for, in UTF-16 units; [0, 0] for tokens that were added. */
  readonly offsets: readonly (readonly [start: number, end: number])[];
  /** 0 for the first text and 1 for the second, as the post-processor has it. */
  readonly typeIds: Int32Array;
  /** 1 for special tokens and padding that were put around the text. */
  readonly specialTokensMask: Int32Array;
  /** 0 for padding. */
  readonly attentionMask: Int32Array;
  /** The text that each token comes from, 0 or 1; null for tokens that were added. */
  readonly sequenceIds: readonly (0 | 1 | null)[];
  /** What truncation cut off, in windows that overlap by `stride` tokens. */
  readonly overflowing: readonly Encoding[];
}

/** The tokens of one text before special tokens are put around them. */
export interface TextRun {
  readonly ids: Int32Array;
  /** Start and end of each token in the text, two numbers a token. */
  spans(): Int32Array;
}

/** A part of an encoding. */
export type EncodingPart =
  | {
      readonly run: TextRun;
      readonly from: number;
      readonly to: number;
      readonly sequence: 0 | 1;
      readonly typeId: number;
    }
  | { readonly id: number; readonly token: string; readonly typeId: number; readonly padding: boolean };

export class LazyEncoding implements Encoding {
  readonly ids: Int32Array;
  readonly overflowing: readonly Encoding[];
  readonly parts: readonly EncodingPart[];
  readonly #tokenOf: (id: number) => string;
  #tokens: readonly string[] | null = null;
  #offsets: readonly (readonly [number, number])[] | null = null;
  #sequenceIds: readonly (0 | 1 | null)[] | null = null;
  #typeIds: Int32Array | null = null;
  #specialTokensMask: Int32Array | null = null;
  #attentionMask: Int32Array | null = null;

  constructor(parts: readonly EncodingPart[], tokenOf: (id: number) => string, overflowing: readonly Encoding[]) {
    this.parts = parts;
    this.overflowing = overflowing;
    this.#tokenOf = tokenOf;
    this.ids = collectIds(parts);
  }

  get length(): number {
    return this.ids.length;
  }

  get tokens(): readonly string[] {
    this.#tokens ??= this.#each(
      (part) => part.token,
      (part, i) => this.#tokenOf(part.run.ids[i]!),
    );
    return this.#tokens;
  }

  get offsets(): readonly (readonly [number, number])[] {
    this.#offsets ??= this.#each<readonly [number, number]>(
      () => [0, 0],
      (part, i) => {
        const spans = part.run.spans();
        return [spans[2 * i]!, spans[2 * i + 1]!];
      },
    );
    return this.#offsets;
  }

  get sequenceIds(): readonly (0 | 1 | null)[] {
    this.#sequenceIds ??= this.#each<0 | 1 | null>(
      () => null,
      (part) => part.sequence,
    );
    return this.#sequenceIds;
  }

  get typeIds(): Int32Array {
    this.#typeIds ??= this.#fill((part) => part.typeId);
    return this.#typeIds;
  }

  get specialTokensMask(): Int32Array {
    this.#specialTokensMask ??= this.#fill((part) => ("run" in part ? 0 : 1));
    return this.#specialTokensMask;
  }

  get attentionMask(): Int32Array {
    this.#attentionMask ??= this.#fill((part) => ("run" in part || !part.padding ? 1 : 0));
    return this.#attentionMask;
  }

  #each<T>(
    ofAdded: (part: Extract<EncodingPart, { token: string }>) => T,
    ofText: (part: Extract<EncodingPart, { run: TextRun }>, index: number) => T,
  ): T[] {
    const list: T[] = [];
    for (const part of this.parts) {
      if ("run" in part) for (let i = part.from; i < part.to; i++) list.push(ofText(part, i));
      else list.push(ofAdded(part));
    }
    return list;
  }

  #fill(value: (part: EncodingPart) => number): Int32Array {
    const out = new Int32Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      const count = "run" in part ? part.to - part.from : 1;
      out.fill(value(part), at, at + count);
      at += count;
    }
    return out;
  }
}

function collectIds(parts: readonly EncodingPart[]): Int32Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined && "run" in first) {
    const { run, from, to } = first;
    return from === 0 && to === run.ids.length ? run.ids : run.ids.slice(from, to);
  }
  let length = 0;
  for (const part of parts) length += "run" in part ? part.to - part.from : 1;
  const ids = new Int32Array(length);
  let at = 0;
  for (const part of parts) {
    if ("run" in part) {
      ids.set(part.run.ids.subarray(part.from, part.to), at);
      at += part.to - part.from;
    } else {
      ids[at++] = part.id;
    }
  }
  return ids;
}
