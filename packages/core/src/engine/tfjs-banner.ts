import { findBackend } from "@tensorflow/tfjs";

let done = false;

/**
 * Keeps tfjs' cpu backend from printing its "Hi, looks like you are running TensorFlow.js in Node.js" banner at the first
 * tensor. Libraries never print, and the advice in it is wrong for a program that has already chosen an engine. Turning
 * tfjs' PROD flag on would hide it too, and its NaN checks and warnings with it.
 */
export function silenceTfjsBanner(): void {
  if (done) return;
  done = true;
  const cpu = findBackend("cpu") as { firstUse?: boolean } | null;
  if (cpu) cpu.firstUse = false;
}
