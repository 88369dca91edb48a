import { isRecord, type Tree } from "@genai/core";

/**
 * Parameters with `fn(record, path)` in the place of each record, so that something can be attached to a layer by its path, such as
 * "h.0.attn.c_attn". The tensors are the same.
 */
export function mapLayers<P extends Tree>(
  params: P,
  fn: (record: Readonly<Record<string, Tree>>, path: string) => Readonly<Record<string, Tree>>,
): P {
  const walk = (node: Tree, path: string): Tree => {
    const at = (key: string | number) => (path === "" ? `${key}` : `${path}.${key}`);
    if (Array.isArray(node)) return node.map((child, i) => walk(child, at(i)));
    if (!isRecord(node)) return node;
    return fn(Object.fromEntries(Object.entries(node).map(([key, child]) => [key, walk(child, at(key))])), path);
  };
  return walk(params, "") as P;
}
