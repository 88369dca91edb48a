export type { BatchStream } from "@genai/core";
export { type BatchesOptions, type BatchOf, batches, EpochStream } from "./batches.ts";
export { ChecksumError, DataUnavailableError } from "./data-errors.ts";
export {
  type DataFile,
  type DownloadProgress,
  type ResolvedFile,
  type ResolveOptions,
  resolveFile,
} from "./data-file.ts";
export type { ArraySet, Column, DatasetInfo, ImageSet, PointSet, TextSet } from "./dataset.ts";
export { cacheDirectory } from "./disk-cache.ts";
export { type DrawDigitsOptions, drawDigits } from "./drawn-digits.ts";
export { type GunzipOptions, gunzip } from "./gunzip.ts";
export { type IdxArray, type IdxDtype, type ReadIdxOptions, readIdx } from "./idx.ts";
export { type LoadMnistOptions, loadMnist, mnistFiles } from "./mnist.ts";
export { type DatasetEntry, type DatasetName, datasets, type LoadOptions } from "./registry.ts";
export { countExamples, split, subset, take } from "./split.ts";
export { type TextBatch, type TextWindowStream, type TextWindowsOptions, textWindows } from "./text-windows.ts";
export { type LoadTinyShakespeareOptions, loadTinyShakespeare, tinyShakespeareFile } from "./tiny-shakespeare.ts";
export { type TwoMoonsOptions, twoMoons } from "./two-moons.ts";
