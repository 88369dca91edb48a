import { createHash } from "node:crypto";
import { fileCheckpoints } from "../../src/checkpoint/file-checkpoints.ts";
import { createEngine } from "../../src/engine/create-engine.ts";
import { fit } from "../../src/train/fit.ts";
import { treeEntries } from "../../src/tree.ts";
import { toyOptions } from "./toy-training.ts";

// A training run in a process of its own, to be killed: node train-child.mjs ENGINE FOLDER STEPS CHECKPOINT_EVERY.
// Prints a line for each step, and one with the hash of the state's bits at the end.

const [engineName = "tfjs:cpu", folder = "", steps = "0", every = "1"] = process.argv.slice(2);
const engine = await createEngine(engineName);
const checkpoints = fileCheckpoints(folder, { keep: 2 });
const say = (event: string, at: object) => process.stdout.write(`${JSON.stringify({ event, ...at })}\n`);
const { state, step } = await fit({
  ...toyOptions(Number(steps)),
  engine,
  checkpoints,
  checkpointEvery: Number(every),
  onResume: ({ step, skipped }) => say("resume", { step, skipped: skipped.length }),
  onStep: ({ step }) => say("step", { step }),
});
const hash = createHash("sha256");
for (const [path, tensor] of treeEntries(state)) {
  const values = await tensor.data();
  hash.update(path).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}
say("end", { step, hash: hash.digest("hex") });
engine.dispose();
