export { type ExportedOnnx, type ExportOnnxOptions, encodeOnnxModel, exportOnnx } from "./export-onnx.ts";
export { createOnnxEngine, type OnnxEngineOptions } from "./onnx-engine.ts";
export type { OnnxDevice } from "./runtime/onnx-runtime.ts";
