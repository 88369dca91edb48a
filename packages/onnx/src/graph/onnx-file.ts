import { PbfWriter } from "pbf";
import {
  type Attribute,
  DATA_TYPE,
  type ElementType,
  isConstant,
  type Node,
  reachableNodes,
  sizeOf,
  type Value,
} from "./graph.ts";

// The part of onnx.proto that graphs of this package need. Field numbers are those of
// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.

/** Opset 21 has everything used here (Gelu came with 20) and is read by ONNX Runtime >= 1.19. */
const OPSET = 21;
const IR_VERSION = 10;

const ELEMENT_BYTES: Record<ElementType, number> = { float32: 4, int32: 4, int64: 8, bool: 1, uint8: 1 };
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 };

export interface OnnxModel {
  readonly inputs: readonly { readonly name: string; readonly value: Value }[];
  readonly outputs: readonly { readonly name: string; readonly value: Value }[];
  readonly metadata?: Readonly<Record<string, string>>;
  /** Declares an empty sequence of this name as the first output. */
  readonly sequenceOutput?: string | undefined;
}

function writeAttribute([name, attribute]: [string, Attribute], pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  if ("int" in attribute) {
    pbf.writeVarintField(3, attribute.int);
    pbf.writeVarintField(20, ATTRIBUTE_TYPE.int);
  } else if ("ints" in attribute) {
    for (const n of attribute.ints) pbf.writeVarintField(8, n);
    pbf.writeVarintField(20, ATTRIBUTE_TYPE.ints);
  } else if ("float" in attribute) {
    pbf.writeFloatField(2, attribute.float);
    pbf.writeVarintField(20, ATTRIBUTE_TYPE.float);
  } else {
    pbf.writeStringField(4, attribute.string);
    pbf.writeVarintField(20, ATTRIBUTE_TYPE.string);
  }
}

function constantBytes(value: Value): Uint8Array {
  const size = sizeOf(value.shape);
  const data = value.data ?? new Array<number>(size).fill(value.fill!);
  switch (value.type) {
    case "float32": {
      const floats = data instanceof Float32Array ? data : Float32Array.from(data);
      return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    }
    case "int32": {
      const ints = data instanceof Int32Array ? data : Int32Array.from(data);
      return new Uint8Array(ints.buffer, ints.byteOffset, ints.byteLength);
    }
    case "int64":
      return new Uint8Array(BigInt64Array.from(data as number[], (n) => BigInt(n)).buffer);
    case "bool":
      return Uint8Array.from(data, (x) => (x ? 1 : 0));
    case "uint8":
      return data instanceof Uint8Array ? data : Uint8Array.from(data);
  }
}

/** Encodes the part of the graph that the outputs depend on as an ONNX file. */
export function encodeOnnx(model: OnnxModel): Uint8Array {
  const { outputs } = model;
  const values = outputs.map(({ value }) => value);
  const nodes = reachableNodes(values);
  const names = new Map<Value, string>();
  for (const { name, value } of model.inputs) names.set(value, name);
  const initializers: Value[] = [];
  const nameOf = (value: Value): string => {
    let name = names.get(value);
    if (name === undefined) {
      name = `${isConstant(value) ? "c" : "v"}${value.id}`;
      names.set(value, name);
      if (isConstant(value)) initializers.push(value);
    }
    return name;
  };

  const writeNode = (node: Node, pbf: PbfWriter) => {
    for (const input of node.inputs) pbf.writeStringField(1, input ? nameOf(input) : "");
    for (const output of node.outputs) pbf.writeStringField(2, nameOf(output));
    pbf.writeStringField(4, node.op);
    for (const entry of Object.entries(node.attributes)) pbf.writeMessage(5, writeAttribute, entry);
    if (node.domain !== "") pbf.writeStringField(7, node.domain);
  };
  const writeDimension = (dim: number, pbf: PbfWriter) => pbf.writeVarintField(1, dim);
  const writeShape = (shape: readonly number[], pbf: PbfWriter) => {
    for (const dim of shape) pbf.writeMessage(1, writeDimension, dim);
  };
  const writeTensorType = (value: Value, pbf: PbfWriter) => {
    pbf.writeVarintField(1, DATA_TYPE[value.type]);
    pbf.writeMessage(2, writeShape, value.shape);
  };
  const writeType = (value: Value, pbf: PbfWriter) => pbf.writeMessage(1, writeTensorType, value);
  const writeValueInfo = ({ name, value }: { name: string; value: Value }, pbf: PbfWriter) => {
    pbf.writeStringField(1, name);
    pbf.writeMessage(2, writeType, value);
  };
  const writeInitializer = (value: Value, pbf: PbfWriter) => {
    for (const dim of value.shape) pbf.writeVarintField(1, dim);
    pbf.writeVarintField(2, DATA_TYPE[value.type]);
    pbf.writeStringField(8, nameOf(value));
    pbf.writeBytesField(9, constantBytes(value));
  };
  const writeIdentity = ({ name, value }: { name: string; value: Value }, pbf: PbfWriter) => {
    pbf.writeStringField(1, nameOf(value));
    pbf.writeStringField(2, name);
    pbf.writeStringField(4, "Identity");
  };
  const writeSequenceNode = (name: string, pbf: PbfWriter) => {
    pbf.writeStringField(2, name);
    pbf.writeStringField(4, "SequenceEmpty");
  };
  const writeFloatElement = (_: null, pbf: PbfWriter) => pbf.writeVarintField(1, DATA_TYPE.float32);
  const writeFloatTensor = (_: null, pbf: PbfWriter) => pbf.writeMessage(1, writeFloatElement, null);
  const writeSequence = (_: null, pbf: PbfWriter) => pbf.writeMessage(1, writeFloatTensor, null);
  const writeSequenceType = (_: null, pbf: PbfWriter) => pbf.writeMessage(4, writeSequence, null);
  const writeSequenceInfo = (name: string, pbf: PbfWriter) => {
    pbf.writeStringField(1, name);
    pbf.writeMessage(2, writeSequenceType, null);
  };
  const writeGraph = (_: null, pbf: PbfWriter) => {
    const free = new Set(values);
    const direct = outputs.filter(({ name, value }) => {
      // The common case, a node's output returned once, takes the output's name itself. The others get their names
      // through Identity: a value may be returned twice, or be an input or a constant.
      if (!value.node || names.has(value) || !free.delete(value)) return false;
      names.set(value, name);
      return true;
    });
    for (const node of nodes) pbf.writeMessage(1, writeNode, node);
    for (const output of outputs) if (!direct.includes(output)) pbf.writeMessage(1, writeIdentity, output);
    if (model.sequenceOutput !== undefined) pbf.writeMessage(1, writeSequenceNode, model.sequenceOutput);
    pbf.writeStringField(2, "genai");
    for (const value of initializers) pbf.writeMessage(5, writeInitializer, value);
    for (const input of model.inputs) pbf.writeMessage(11, writeValueInfo, input);
    if (model.sequenceOutput !== undefined) pbf.writeMessage(12, writeSequenceInfo, model.sequenceOutput);
    for (const output of outputs) pbf.writeMessage(12, writeValueInfo, output);
  };
  const writeOpset = ({ domain, version }: { domain: string; version: number }, pbf: PbfWriter) => {
    if (domain !== "") pbf.writeStringField(1, domain);
    pbf.writeVarintField(2, version);
  };
  const writeProperty = ([key, value]: [string, string], pbf: PbfWriter) => {
    pbf.writeStringField(1, key);
    pbf.writeStringField(2, value);
  };

  // Room for everything from the start: growing copies the weights again and again.
  const constants = nodes.flatMap((node) => node.inputs).filter((v): v is Value => v?.data !== undefined);
  const weights = [...new Set(constants)].reduce((n, v) => n + sizeOf(v.shape) * ELEMENT_BYTES[v.type], 0);
  const pbf = new PbfWriter(new Uint8Array(weights + 1024 * nodes.length + 65536));
  pbf.writeVarintField(1, IR_VERSION);
  pbf.writeStringField(2, "@genai/onnx");
  pbf.writeMessage(7, writeGraph, null);
  pbf.writeMessage(8, writeOpset, { domain: "", version: OPSET });
  if (nodes.some((node) => node.domain === "com.microsoft")) {
    pbf.writeMessage(8, writeOpset, { domain: "com.microsoft", version: 1 });
  }
  for (const property of Object.entries(model.metadata ?? {})) pbf.writeMessage(14, writeProperty, property);
  return pbf.finish();
}
