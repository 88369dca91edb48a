export type { Compiled, Device, Engine } from "./engine/engine.ts";
export { AbortError, EngineUnavailableError, FormatError, throwIfAborted } from "./errors.ts";
export { type Draw, philox4x32, Rng, type RngState } from "./rng.ts";
export {
  assertSameStructure,
  countParams,
  type Tree,
  treeDispose,
  treeEntries,
  treeKeep,
  treeLeaves,
  treeMap,
  treeUnflatten,
  treeVisit,
  treeZip,
} from "./tree.ts";
