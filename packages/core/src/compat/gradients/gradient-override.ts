import * as tf from "@tensorflow/tfjs";

/** A gradient for tfjs' registry, for kernels with one output. Its functions may be differentiated again. */
export interface GradientOverride {
  readonly kernelName: string;
  readonly inputsToSave?: string[];
  readonly outputsToSave?: boolean[];
  readonly saveAllInputs?: boolean;
  gradFunc(dy: tf.Tensor, saved: tf.Tensor[], attrs: tf.NamedAttrMap): Record<string, () => tf.Tensor>;
}

/** Puts the gradient in the place of tfjs' own, where it has one. */
export function overrideGradient(override: GradientOverride): void {
  if (tf.getGradient(override.kernelName)) tf.unregisterGradient(override.kernelName);
  tf.registerGradient(override as tf.GradConfig);
}
