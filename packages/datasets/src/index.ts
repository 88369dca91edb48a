export type { BatchStream } from "@genai/core";
export { type BatchesOptions, batches, EpochStream } from "./batches.ts";
export { type ColumnType, type LoadCsvOptions, loadCsv, type ReadCsvOptions, readCsv } from "./csv.ts";
export { ChecksumError, DataUnavailableError } from "./data-errors.ts";
export {
  type DataFile,
  type DownloadProgress,
  type ResolvedFile,
  type ResolveOptions,
  resolveFile,
} from "./data-file.ts";
export type {
  ArraySet,
  CategoricalColumn,
  Column,
  DatasetInfo,
  ImageSet,
  NumericColumn,
  PointSet,
  TableColumn,
  TableSet,
  TextSet,
  VideoSet,
  WordSet,
} from "./dataset.ts";
export { type DecodedImage, type DecodeImageOptions, decodeImage } from "./decode-image.ts";
export { cacheDirectory } from "./disk-cache.ts";
export { type DrawDigitsOptions, drawDigits } from "./drawn-digits.ts";
export {
  type CheckerboardOptions,
  checkerboard,
  type DrawnPointsOptions,
  type GaussianGridOptions,
  type GaussianRingOptions,
  gaussianGrid,
  gaussianRing,
  type PinwheelOptions,
  pinwheel,
  type SwissRollOptions,
  swissRoll,
} from "./drawn-points.ts";
export { type BatchOf, type PixelRange, type ToTensorsOptions, toTensors } from "./example-tensors.ts";
export {
  fashionMnistFiles,
  fashionSpriteFile,
  type LoadFashionMnistOptions,
  type LoadFashionSprite900Options,
  loadFashionMnist,
  loadFashionSprite900,
} from "./fashion-mnist.ts";
export { type GunzipOptions, gunzip } from "./gunzip.ts";
export { type IdxArray, type IdxDtype, type ReadIdxOptions, readIdx } from "./idx.ts";
export { type ImageFolderSet, type LoadImageFolderOptions, loadImageFolder } from "./image-folder.ts";
export {
  jsbChoralesFiles,
  type LoadJsbChoralesOptions,
  loadJsbChorales,
  lowestPianoPitch,
  type MusicSet,
  type PianoRollSet,
  type PianoRollWindowsOptions,
  type Piece,
  pianoRoll,
  pianoRollWindows,
  pitchesOfRoll,
} from "./jsb-chorales.ts";
export { type LoadMnistOptions, loadMnist, mnistFiles } from "./mnist.ts";
export { type MovingDigitsOptions, type MovingDigitsSet, movingDigits } from "./moving-digits.ts";
export { type LoadNamesOptions, loadNames, namesFile } from "./names.ts";
export { type EmojiSet, type LoadNotoEmojiOptions, loadNotoEmoji, notoEmojiFiles } from "./noto-emoji.ts";
export { type LoadOpticalDigitsOptions, loadOpticalDigits, opticalDigitsFiles } from "./optical-digits.ts";
export {
  loadBreastCancer,
  loadDiamonds,
  loadIris,
  loadPenguins,
  loadWine,
  tableFiles,
} from "./published-tables.ts";
export {
  type AnySet,
  type DatasetEntry,
  type DatasetKind,
  type DatasetName,
  datasets,
  type LoadOptions,
} from "./registry.ts";
export { cropToProportions, resizeImage } from "./resize-image.ts";
export { countExamples, split, subset, take } from "./split.ts";
export {
  fitScaling,
  type SplitTable,
  type SplitTableOptions,
  splitTable,
  standardizeTable,
  type TableScaling,
  unstandardizeTable,
} from "./split-table.ts";
export { type ColumnValues, columnValues } from "./table-values.ts";
export { type LoadTextFilesOptions, loadTextFiles } from "./text-files.ts";
export { type TextBatch, type TextWindowStream, type TextWindowsOptions, textWindows } from "./text-windows.ts";
export { type LoadTinyShakespeareOptions, loadTinyShakespeare, tinyShakespeareFile } from "./tiny-shakespeare.ts";
export { type TwoMoonsOptions, twoMoons } from "./two-moons.ts";
export type { UserFile, UserFiles } from "./user-file.ts";
export { type LoadWikitext2Options, loadWikitext2, wikitext2Files } from "./wikitext-2.ts";
