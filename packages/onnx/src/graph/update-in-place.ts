import { type Node, reachableNodes, sameShape, sizeOf, type Value } from "./graph.ts";

// Which outputs can be written where an input is: the next value of a parameter where the last one was. An operator may write there if
// whatever else reads the input has run before, because it depends on all of that, and if it reads the input itself only
// element by element.

/** With one or two operands, such operators read them at a place before they write there, and not again. */
const ELEMENTWISE = new Set(["Add", "Sub", "Mul", "Div", "Max", "Min", "Sqrt", "Neg", "Abs"]);
const isElementwise = ({ op, inputs }: Node) => ELEMENTWISE.has(op) && inputs.length <= 2;

/** Operators that the runtime may make a part of those behind them, which then read their operand. */
const ABSORBED = new Set(["Reshape", "Transpose", "Identity", "Cast", "Mul", "Div"]);

/** Elements from which on memory is worth the search. */
const MIN_SIZE = 2 ** 12;

/**
 * Finds the input, among those given, that each output may take the place of; undefined for outputs that have none. No input is
 * found twice.
 *
 * @param shapes of the outputs, and of the inputs whose place they take; computed they may be in another
 */
export function updatesInPlace(
  outputs: readonly Value[],
  shapes: readonly (readonly number[])[],
  inputs: ReadonlySet<Value>,
): (Value | undefined)[] {
  const readers = readersOf(reachableNodes(outputs), inputs);
  const taken = new Set<Value>();
  return outputs.map((output, i) => {
    const { node } = output;
    const isTwice = outputs.indexOf(output) !== outputs.lastIndexOf(output);
    if (!node || !isElementwise(node) || sizeOf(output.shape) < MIN_SIZE || isTwice) return undefined;
    const candidates = elementsBehind(output, shapes[i]!, inputs).filter((input) => !taken.has(input));
    if (candidates.length === 0) return undefined;
    const before = new Set(reachableNodes(node.inputs.filter((value) => value !== null)));
    const place = candidates.find((input) =>
      [...readers.get(input)!].every((reader) => before.has(reader) || reader === node),
    );
    if (place) taken.add(place);
    return place;
  });
}

/** The nodes that read each input, also behind operators that the runtime may absorb. */
function readersOf(nodes: readonly Node[], inputs: ReadonlySet<Value>): Map<Value, Set<Node>> {
  const readers = new Map<Value, Set<Node>>();
  const origins = new Map<Value, Set<Value>>();
  for (const input of inputs) {
    origins.set(input, new Set([input]));
    readers.set(input, new Set());
  }
  for (const node of nodes) {
    for (const value of node.inputs) {
      for (const input of (value && origins.get(value)) ?? []) {
        readers.get(input)!.add(node);
        if (!ABSORBED.has(node.op)) continue;
        const [output] = node.outputs as [Value];
        origins.set(output, new Set([...(origins.get(output) ?? []), input]));
      }
    }
  }
  return readers;
}

/** Inputs of a shape that a value is computed from element by element, the nearest first. */
function elementsBehind(output: Value, shape: readonly number[], inputs: ReadonlySet<Value>): Value[] {
  const size = sizeOf(shape);
  // Grows while it is walked through.
  const seen = new Set<Value>([output]);
  for (const { node } of seen) {
    if (!node || !(isElementwise(node) || node.op === "Reshape")) continue;
    for (const operand of node.inputs) {
      if (operand && operand.type === output.type && sizeOf(operand.shape) === size) seen.add(operand);
    }
  }
  return [...seen].filter((value) => inputs.has(value) && sameShape(value.shape, shape));
}
