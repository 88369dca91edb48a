/** Element types of graph values, by their ONNX names in TypeScript's spelling. */
export type ElementType = "float32" | "int32" | "int64" | "bool" | "uint8";

/** Their numbers in ONNX files. */
export const DATA_TYPE: Readonly<Record<ElementType, number>> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };

/** Plain numbers of a constant; int64 constants are kept as numbers and must be safe integers. */
export type ConstantData = Float32Array | Int32Array | Uint8Array | readonly number[];

/** An attribute of a node. The tag says how ONNX stores it. */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly string: string };

/** A tensor in the graph: an input, a constant or an output of a node. Shapes are always known. */
export interface Value {
  readonly id: number;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** The node that makes this value; absent for inputs and constants. */
  readonly node?: Node;
  /** The name under which the caller feeds this value; present for inputs only. */
  readonly input?: string;
  /** The elements of a constant, row-major. */
  readonly data?: ConstantData;
  /** The one number that fills a constant, when it is uniform. Such constants cost nothing until they are written. */
  readonly fill?: number;
}

/** One ONNX operator. */
export interface Node {
  readonly op: string;
  /** "" for the standard operators, "com.microsoft" for ONNX Runtime's own. */
  readonly domain: string;
  readonly inputs: readonly (Value | null)[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly outputs: Value[];
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, dim) => n * dim, 1);
export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);
/** Names of the inputs that random draws feed. */
export const drawName = (n: number): string => `draw${n}`;
export const isDraw = (value: Value): boolean => value.input?.startsWith("draw") ?? false;
export const isConstant = (value: Value): boolean => value.data !== undefined || value.fill !== undefined;

/**
 * A graph under construction. Nodes are shared by structure: asking twice for the same operator on the same values gives
 * the same result, so that recorded code may recompute freely.
 */
export class Graph {
  readonly inputs: Value[] = [];
  /** Results that the runtime can write where an input of theirs is, if nobody needs that any more. */
  readonly inPlace = new Map<Value, Value>();
  /** Further inputs over the memory of those that allow it; see `bytesOf`. */
  readonly views = new Map<Value, Value>();
  /** Inputs that have become constants; see `known`. */
  readonly fixed = new Map<Value, Value>();
  readonly #sources = new Map<Value, () => ConstantData>();
  readonly #viewable = new Set<Value>();
  readonly #shared = new Map<string, Node>();
  readonly #constants = new Map<string, Value>();
  #nextId: number;

  /** @param firstId above the ids of values of other graphs that are to be used in this one. */
  constructor(firstId = 0) {
    this.#nextId = firstId;
  }

  /**
   * @param read gives the elements that are fed at the time of recording, where they are at hand
   * @param viewable whether the memory can be fed as of another type; see `bytesOf`
   */
  input(name: string, type: ElementType, shape: readonly number[], read?: () => ConstantData, viewable = false): Value {
    const value: Value = { id: this.#nextId++, type, shape: [...shape], input: name };
    this.inputs.push(value);
    if (read) this.#sources.set(value, read);
    if (viewable) this.#viewable.add(value);
    return value;
  }

  /**
   * A value as a constant, for operators that want to prepare their weights. Of an input it takes the elements that are fed
   * now, so that the graph serves calls with that very tensor only. Undefined for what is computed.
   */
  known(value: Value): Value | undefined {
    if (isConstant(value)) return value;
    const read = this.#sources.get(value);
    if (!read) return undefined;
    let constant = this.fixed.get(value);
    if (!constant) {
      constant = { id: this.#nextId++, type: value.type, shape: value.shape, data: read() };
      this.fixed.set(value, constant);
    }
    return constant;
  }

  /**
   * The memory of an int32 input as a further input: uint8, with the bytes of an element along the last axis. Undefined for
   * what is computed, and for inputs that would have to be copied at every call.
   */
  bytesOf(value: Value): Value | undefined {
    if (value.type !== "int32" || !this.#viewable.has(value)) return undefined;
    let view = this.views.get(value);
    if (!view) {
      const shape = [...value.shape.slice(0, -1), value.shape.at(-1)! * 4];
      view = { id: this.#nextId++, type: "uint8", shape, input: `${value.input}_bytes` };
      this.views.set(value, view);
    }
    return view;
  }

  constant(type: ElementType, shape: readonly number[], data: ConstantData): Value {
    const size = sizeOf(shape);
    if (data.length !== size)
      throw new Error(`Graph.constant: ${data.length} elements; shape [${shape}] holds ${size}`);
    if (size > 0 && size <= 65536) {
      const first = data[0]!;
      if (Number.isFinite(first) && !Object.is(first, -0) && data.every((x: number) => x === first)) {
        return this.filled(type, shape, first);
      }
    }
    // Axes and index tables recur, and what is computed from them is shared only if they are; weights do not recur.
    const comparable = size <= 64 || (size <= 65536 && type !== "float32");
    const key = comparable ? `${type}|${shape}|${Array.from(data, (x) => (Object.is(x, -0) ? "-0" : x))}` : undefined;
    const known = key === undefined ? undefined : this.#constants.get(key);
    if (known) return known;
    const value: Value = { id: this.#nextId++, type, shape: [...shape], data };
    if (key !== undefined) this.#constants.set(key, value);
    return value;
  }

  /** A constant whose elements are all equal. */
  filled(type: ElementType, shape: readonly number[], fill: number): Value {
    const key = `${type}|${shape}|fill ${Object.is(fill, -0) ? "-0" : fill}`;
    let value = this.#constants.get(key);
    if (!value) {
      value = { id: this.#nextId++, type, shape: [...shape], fill };
      this.#constants.set(key, value);
    }
    return value;
  }

  scalar(type: ElementType, fill: number): Value {
    return this.filled(type, [], fill);
  }

  /** A 1-D int64 constant, the form in which ONNX operators take axes, shapes and indices. */
  int64s(values: readonly number[]): Value {
    return this.constant("int64", [values.length], values);
  }

  /** Adds an operator with one output. */
  node(
    op: string,
    inputs: readonly (Value | null)[],
    type: ElementType,
    shape: readonly number[],
    attributes: Record<string, Attribute> = {},
    domain = "",
  ): Value {
    return this.nodes(op, inputs, [{ type, shape }], attributes, domain)[0]!;
  }

  /** Adds an operator with several outputs. */
  nodes(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: readonly { type: ElementType; shape: readonly number[] }[],
    attributes: Record<string, Attribute> = {},
    domain = "",
  ): Value[] {
    const key = `${domain}:${op}(${inputs.map((v) => v?.id ?? "-")})${JSON.stringify(attributes)}`;
    let node = this.#shared.get(key);
    if (!node) {
      const made: Node = { op, domain, inputs, attributes, outputs: [] };
      for (const { type, shape } of outputs) {
        made.outputs.push({ id: this.#nextId++, type, shape: [...shape], node: made });
      }
      this.#shared.set(key, made);
      node = made;
    }
    return node.outputs;
  }
}

/** The nodes that `outputs` depend on, each after the nodes that it reads. */
export function reachableNodes(outputs: readonly Value[]): Node[] {
  const order: Node[] = [];
  const done = new Set<Node>();
  // An explicit stack: graphs of deep models overflow the call stack.
  const stack: { node: Node; next: number }[] = [];
  const enter = (value: Value | null) => {
    if (value?.node && !done.has(value.node)) {
      done.add(value.node);
      stack.push({ node: value.node, next: 0 });
    }
  };
  for (const output of outputs) {
    enter(output);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      if (top.next < top.node.inputs.length) enter(top.node.inputs[top.next++]!);
      else order.push(stack.pop()!.node);
    }
  }
  return order;
}

/** The inputs that `outputs` depend on. */
export function usedInputs(outputs: readonly Value[]): Set<Value> {
  const used = new Set<Value>(outputs.filter((value) => value.input !== undefined));
  for (const node of reachableNodes(outputs)) {
    for (const value of node.inputs) if (value?.input !== undefined) used.add(value);
  }
  return used;
}
