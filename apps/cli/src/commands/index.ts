import type { Command } from "commander";
import { addAnomaly } from "./anomaly.ts";
import { addBench } from "./bench.ts";
import { addChat } from "./chat.ts";
import { addDoctor } from "./doctor.ts";
import { addExport } from "./export.ts";
import { addFinetune } from "./finetune.ts";
import { addGenerate } from "./generate.ts";
import { addImpute } from "./impute.ts";
import { addQuantize } from "./quantize.ts";
import { addQuickstart } from "./quickstart.ts";
import { addReproduce } from "./reproduce.ts";
import { addSample } from "./sample.ts";
import { addServe } from "./serve.ts";
import { addTokenizer } from "./tokenizer.ts";
import { addTrain } from "./train.ts";

/** Every command, in the order of `genai --help`. To add one: a file beside this one and a line here. */
export const commands: readonly ((program: Command) => void)[] = [
  addQuickstart,
  addTrain,
  addFinetune,
  addSample,
  addGenerate,
  addChat,
  addServe,
  addAnomaly,
  addImpute,
  addReproduce,
  addTokenizer,
  addBench,
  addQuantize,
  addExport,
  addDoctor,
];
