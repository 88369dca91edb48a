export { describeGolden, type GoldenRun } from "./describe-golden.ts";
export { expectClose } from "./expect-close.ts";
export { expectGradient, expectSecondGradient, type GradientCheck } from "./expect-gradient.ts";
export {
  type GoldenCase,
  type GoldenFile,
  type GoldenModel,
  type GoldenTensor,
  type GoldenValue,
  goldenNumbers,
  goldenTensor,
  isGoldenTensor,
  loadGolden,
  loadGoldenModel,
  type Tolerance,
} from "./golden-files.ts";
export { channelsFirst, channelsLast } from "./image-layouts.ts";
export { describeModelContract, type ModelContract } from "./model-contract.ts";
export { describeOnEngines, testEngines } from "./test-engines.ts";
