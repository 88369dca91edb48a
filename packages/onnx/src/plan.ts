import { usedInputs, type Value } from "./graph/graph.ts";
import { optimize } from "./graph/optimize.ts";
import { updatesInPlace } from "./graph/update-in-place.ts";
import type { Loader, Program } from "./runtime/program.ts";
import type { Recording, Traced } from "./trace/trace.ts";

/** A graph ready to run. */
export interface Plan {
  readonly traced: Traced;
  /** What the graph reads of the arguments' tensors, by their numbers. */
  readonly feeds: readonly { readonly argument: number; readonly value: Value }[];
  /** The random draws that it reads. */
  readonly draws: readonly Value[];
  /** Which of the arguments' tensors a call needs, by their numbers: those read, and those that are handed back. */
  readonly needed: readonly number[];
  /** Undefined for a function that only hands its arguments back. */
  readonly program: Promise<Program | undefined>;
  /** The shapes of the results. The graph may compute them in another shape: reshaping there would be a copy. */
  readonly shapes: readonly (readonly number[])[];
  /** Outputs that can be written where a donated argument is. */
  readonly inPlace: readonly InPlace[];
  /** The donated arguments' tensors, by their numbers. */
  readonly gifts: readonly number[];
}

/** An output that can be written where a donated argument is, by their numbers. */
interface InPlace {
  readonly output: number;
  readonly argument: number;
  /** The shape that the output is computed in. */
  readonly shape: readonly number[];
  /** Whether other memory than the engine's is left as it is: arrays that somebody may have made tensors of. */
  readonly ownOnly: boolean;
}

/**
 * Hands a recorded graph to the runtime, and works out what a call has to do.
 *
 * @param gifts the arguments' tensors that are donated, by their numbers
 */
export function planOf(recording: Recording, gifts: ReadonlySet<number>, loader: Loader): Plan {
  const { graph, traced } = recording;
  const shapes = recording.outputs.map(({ shape }) => shape);
  const outputs = optimize(recording.outputs).map((value, i) =>
    graph.inPlace.has(recording.outputs[i]!) ? value : beforeReshape(value),
  );
  const used = usedInputs(outputs);
  const feeds = traced.arguments.flatMap((input, argument) =>
    [input, graph.views.get(input)].flatMap((value) => (value && used.has(value) ? [{ argument, value }] : [])),
  );
  const draws = traced.draws.filter((value) => used.has(value));
  const handedBack = traced.leaves.flatMap((leaf) => ("argument" in leaf ? [leaf.argument] : []));
  const needed = [...new Set([...feeds.map(({ argument }) => argument), ...handedBack])];
  const inputs = [...feeds.map(({ value }) => value), ...draws];
  const program =
    outputs.length === 0
      ? Promise.resolve(undefined)
      : loader.load({
          inputs: inputs.map((value) => ({ name: value.input!, value })),
          outputs: outputs.map((value, i) => ({ name: `out${i}`, value })),
        });
  program.catch(() => {}); // reported by the call that awaits it
  // Not those that are needed as they are besides, or have a place to be written to already.
  const others = new Set([...graph.views.keys(), ...graph.fixed.keys(), ...graph.inPlace.values()]);
  const updatable = [...gifts].filter((i) => !handedBack.includes(i)).map((i) => traced.arguments[i]!);
  const updates = loader.reusesMemory
    ? updatesInPlace(outputs, shapes, new Set(updatable.filter((value) => !others.has(value))))
    : [];
  const inPlace = outputs.flatMap(({ shape }, output): InPlace[] => {
    const operand = graph.inPlace.get(recording.outputs[output]!);
    const place = operand ?? updates[output];
    const argument = place ? traced.arguments.indexOf(place) : -1;
    return gifts.has(argument) ? [{ output, argument, shape, ownOnly: operand === undefined }] : [];
  });
  return { traced, feeds, draws, needed, program, shapes, inPlace, gifts: [...gifts] };
}

/** The computed value that `value` is, but for its shape. */
function beforeReshape(value: Value): Value {
  const source = value.node?.op === "Reshape" ? value.node.inputs[0]! : undefined;
  return source?.node ? beforeReshape(source) : value;
}
