import { installCompat, writeFileAtomic } from "@genai/core";
import { usedInputs } from "./graph/graph.ts";
import { encodeOnnx } from "./graph/onnx-file.ts";
import { optimize } from "./graph/optimize.ts";
import { flattenArguments, trace } from "./trace/trace.ts";

export interface ExportOnnxOptions {
  /** Names of the inputs, one for each tensor of the arguments in order; default the arguments' paths, such as "0.images". */
  readonly inputNames?: readonly string[];
  /** Names of the outputs, one for each tensor of the result in order; default "output0", "output1", ... */
  readonly outputNames?: readonly string[];
  /** Key and value pairs for the file's metadata. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The inputs and outputs of an exported model, in order. */
export interface ExportedOnnx {
  readonly bytes: Uint8Array;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/**
 * Records a function as an ONNX model (opset 21, standard operators only), for shapes like those of `exampleArgs`.
 *
 * Tensors in the arguments become inputs; tensors that the function captures, such as a model's parameters, become
 * constants of the model. Draws from an `Rng` among the arguments become inputs "noise0", "noise1", ...
 *
 * @example
 * encodeOnnxModel((z) => decodeConvVae(vae, z), [tf.zeros([1, 16])], { inputNames: ["z"], outputNames: ["logits"] });
 * @throws if names are missing or given twice, or the function cannot be recorded.
 */
export function encodeOnnxModel<A extends readonly unknown[]>(
  fn: (...args: A) => unknown,
  exampleArgs: A,
  options: ExportOnnxOptions = {},
): ExportedOnnx {
  installCompat();
  const { paths } = flattenArguments(exampleArgs);
  const { inputNames = paths, metadata = {} } = options;
  const { outputs: recorded, traced } = trace(fn as (...args: never[]) => unknown, exampleArgs);
  const leaves = traced.leaves.map((leaf) =>
    "argument" in leaf ? traced.arguments[leaf.argument]! : recorded[leaf.output]!,
  );
  const { outputNames = leaves.map((_, i) => `output${i}`) } = options;
  expectNames("inputNames", inputNames, paths.length, "tensors in the arguments");
  expectNames("outputNames", outputNames, leaves.length, "tensors in the result");
  if (leaves.length === 0) throw new Error("encodeOnnxModel: the function's result holds no tensor");
  const all = [...inputNames, ...traced.draws.map((_, i) => `noise${i}`), ...outputNames];
  const twice = all.find((name, i) => all.indexOf(name) !== i);
  if (twice !== undefined)
    throw new Error(`encodeOnnxModel: the name '${twice}' is given twice; expected one name for each input and output`);

  const used = usedInputs(leaves);
  const inputs = [
    ...traced.arguments.map((value, i) => ({ name: inputNames[i]!, value })),
    ...traced.draws.map((value, i) => ({ name: `noise${i}`, value })),
  ].filter(({ value }) => used.has(value));
  const outputs = optimize(leaves).map((value, i) => ({ name: outputNames[i]!, value }));
  return {
    bytes: encodeOnnx({ inputs, outputs, metadata }),
    inputs: inputs.map(({ name }) => name),
    outputs: [...outputNames],
  };
}

/**
 * Writes the model of `encodeOnnxModel` to a file that any ONNX runtime opens. In Node.
 *
 * @throws as `encodeOnnxModel`, or if the file cannot be written; a file that was there before is then left as it was.
 */
export async function exportOnnx<A extends readonly unknown[]>(
  fn: (...args: A) => unknown,
  exampleArgs: A,
  file: string,
  options: ExportOnnxOptions = {},
): Promise<ExportedOnnx> {
  const exported = encodeOnnxModel(fn, exampleArgs, options);
  await writeFileAtomic(file, exported.bytes, "exportOnnx");
  return exported;
}

function expectNames(option: string, names: readonly string[], count: number, what: string): void {
  if (names.length !== count)
    throw new Error(`encodeOnnxModel: ${option} has ${names.length} names; expected ${count}, the ${what}`);
  const empty = names.indexOf("");
  if (empty >= 0) throw new Error(`encodeOnnxModel: ${option}[${empty}] is empty; expected a name`);
}
