import { arch, cpus, platform } from "node:os";
import type { JobOutcome, TrainingJob } from "../families/family.ts";
import type { MetricsLine } from "./metrics-log.ts";
import { formatDuration } from "./progress.ts";
import { renderReport } from "./report.ts";
import type { RunConfig } from "./run-folder.ts";
import { type RunOutcome, speedOf } from "./run-outcome.ts";

/** What a report tells of. */
export interface ReportedRun {
  readonly config: RunConfig;
  readonly charts: TrainingJob["charts"];
  readonly lines: readonly MetricsLine[];
  readonly result: RunOutcome;
  readonly outcome: JobOutcome;
}

/** The page about a finished run: its numbers, curves, pictures and texts, and how it was trained. */
export function reportOf({ config, charts, lines, result, outcome }: ReportedRun): Promise<string> {
  const { settings } = config;
  const speed = speedOf(result);
  return renderReport({
    title: `${config.family} (${settings.kind}) on ${settings.data}`,
    subtitle: `${config.name}, ${config.createdAt.slice(0, 16).replace("T", " ")} UTC`,
    figures: [
      ...outcome.headline,
      { label: "Training time", value: formatDuration(result.trainSeconds), note: `${result.steps} steps, ${speed}` },
    ],
    metrics: lines,
    charts,
    plots: outcome.plots ?? [],
    pictures: outcome.pictures,
    texts: outcome.texts ?? [],
    details: [
      ["Data", result.data],
      ["Model", describe(config.model)],
      ["Parameters", config.params.toLocaleString("en")],
      ["Steps", `${result.steps} of ${settings.steps}, ${settings.batchSize} examples each`],
      ["Learning rate", String(settings.learningRate)],
      ...(settings.preset === undefined ? [] : [["Preset", settings.preset] as const]),
      ["Options", describe(settings.options)],
      ["Seed", String(settings.seed)],
      ["Engine", `${result.engine} (${speed})`],
      ["Machine", `${cpus()[0]?.model ?? platform()}, ${cpus().length} cores, ${platform()}-${arch()}`],
      [
        "Versions",
        Object.entries(config.versions)
          .map(([name, version]) => `${name} ${version}`)
          .join(", "),
      ],
    ],
  });
}

/** "latentDim 16, hiddenChannels 32 64"; what is empty, as a prompt that was not given, is left out. */
function describe(record: unknown): string {
  const text = (value: unknown): string => {
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(" ");
    if (typeof value !== "object" || value === null) return String(value);
    if (Array.isArray(value) && value.every((item) => typeof item?.name === "string")) {
      return value.map(({ name }) => name).join(" ");
    }
    if (!Array.isArray(value)) return `(${describe(value)})`;
    const json = JSON.stringify(value);
    return json.length > 200 ? `${json.slice(0, 200)}...` : json;
  };
  return Object.entries(record as object)
    .map(([name, value]) => [name, value === null ? "" : text(value)])
    .filter(([, value]) => value !== "")
    .map((entry) => entry.join(" "))
    .join(", ");
}
