import { formatDuration } from "../run/progress.ts";
import { type RunOutcome, speedOf } from "../run/run-outcome.ts";
import { alignColumns, bold, dim, printJson, printLine } from "../terminal.ts";

/** Prints what a run has come to. */
export function reportRun(run: RunOutcome, { json }: { readonly json: boolean }): void {
  if (json) {
    printJson(run);
    return;
  }
  printLine();
  for (const line of alignColumns(
    run.headline.map(({ label, value, note }) => [label, bold(value), dim(note ?? "")]),
  )) {
    printLine(line);
  }
  printLine();
  const { steps, trainSeconds, engine, dir, report } = run;
  printLine(`${steps} steps in ${formatDuration(trainSeconds)} on ${engine} (${speedOf(run)})`);
  printLine(`Run folder  ${dir}`);
  printLine(`Report      ${report}`);
}
