export {
  binarize,
  type ConvVae,
  type ConvVaeConfig,
  type ConvVaeLossOptions,
  type ConvVaeParams,
  convVaeLoss,
  convVaePresets,
  createConvVae,
  decodeConvVae,
  encodeConvVae,
  type InterpolateOptions,
  interpolateConvVae,
  reconstructConvVae,
  sampleConvVae,
} from "./conv-vae.ts";
export { convVaeElbo, type Elbo, type ElboOptions } from "./elbo.ts";
