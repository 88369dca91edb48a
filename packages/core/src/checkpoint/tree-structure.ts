import { Tensor } from "@tensorflow/tfjs";
import { FormatError } from "../errors.ts";
import { isRecord, type Tree } from "../tree.ts";

// A tree as JSON beside its tensors. Tensors become { "$tensor": 0 } and are found by their path; numbers that JSON does
// not know become { "$number": "NaN" }; a record's own keys that start with $ get one more.

/** JSON as it comes from `JSON.parse`. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const join = (path: string, key: string | number) => (path === "" ? String(key) : `${path}.${key}`);
const MAX_DEPTH = 500;

/**
 * The structure of a tree as JSON, and its tensors by path.
 *
 * Entries of records that are undefined are left out, as JSON does.
 *
 * @throws if two tensors have one path (`{ "a.b": t, a: { b: t } }`), or a value is neither tensor nor JSON.
 */
export function encodeTree(caller: string, tree: Tree): { structure: Json; tensors: Map<string, Tensor> } {
  const tensors = new Map<string, Tensor>();
  const walk = (node: unknown, path: string, depth: number): Json => {
    if (depth > MAX_DEPTH) throw new Error(`${caller}: '${path}' is nested more than ${MAX_DEPTH} deep`);
    if (node instanceof Tensor) {
      if (tensors.has(path))
        throw new Error(`${caller}: two tensors have the path '${path}'; expected paths that differ`);
      tensors.set(path, node);
      return { $tensor: 0 };
    }
    if (Array.isArray(node)) return Array.from(node, (child, i) => walk(child, join(path, i), depth + 1));
    if (isRecord(node)) {
      const entries: [string, Json][] = [];
      for (const [key, child] of Object.entries(node)) {
        if (child !== undefined) entries.push([escapeKey(key), walk(child, join(path, key), depth + 1)]);
      }
      return Object.fromEntries(entries);
    }
    if (node === null || typeof node === "string" || typeof node === "boolean") return node;
    if (typeof node === "number") {
      if (Object.is(node, -0)) return { $number: "-0" };
      return Number.isFinite(node) ? node : { $number: String(node) };
    }
    const what = typeof node === "object" ? `a ${node.constructor?.name ?? "class"}` : typeof node;
    throw new Error(`${caller}: '${path}' is ${what}; expected a tensor or plain JSON`);
  };
  return { structure: walk(tree, "", 0), tensors };
}

/** Encodes a plain value, as `encodeTree` does, where tensors have no place. */
export function encodeJson(caller: string, value: unknown, what: string): Json {
  const { structure, tensors } = encodeTree(`${caller}: ${what}`, value);
  for (const path of tensors.keys())
    throw new Error(`${caller}: ${what} holds a tensor at '${path}'; expected plain JSON`);
  return structure;
}

/**
 * The tree of a structure made by `encodeTree`, with the tensors that `tensorAt` gives.
 *
 * @throws FormatError if the structure is none that `encodeTree` makes.
 */
export function decodeTree(caller: string, structure: Json, tensorAt: (path: string) => Tensor): Tree {
  const walk = (node: Json, path: string, depth: number): unknown => {
    if (depth > MAX_DEPTH) throw new FormatError(`${caller}: '${path}' is nested more than ${MAX_DEPTH} deep`);
    if (node === null || typeof node !== "object") return node;
    if (Array.isArray(node)) return node.map((child, i) => walk(child, join(path, i), depth + 1));
    const entries = Object.entries(node);
    const [first] = entries;
    if (first !== undefined && /^\$[^$]/.test(first[0])) {
      if (entries.length === 1 && first[0] === "$tensor") return tensorAt(path);
      const number = typeof first[1] === "string" ? NUMBERS.get(first[1]) : undefined;
      if (entries.length === 1 && first[0] === "$number" && number !== undefined) return number;
      throw new FormatError(
        `${caller}: '${path}' is ${JSON.stringify(node).slice(0, 80)}; expected $tensor or $number`,
      );
    }
    return Object.fromEntries(
      entries.map(([key, child]) => {
        const own = unescapeKey(key);
        return [own, walk(child, join(path, own), depth + 1)];
      }),
    );
  };
  return walk(structure, "", 0);
}

/** The value that `encodeJson` encoded. */
export function decodeJson(caller: string, structure: Json): unknown {
  return decodeTree(caller, structure, (path) => {
    throw new FormatError(`${caller}: '${path}' is a tensor; expected plain JSON`);
  });
}

const NUMBERS = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["-0", -0],
]);
const escapeKey = (key: string) => (key.startsWith("$") ? `$${key}` : key);
const unescapeKey = (key: string) => (key.startsWith("$$") ? key.slice(1) : key);
