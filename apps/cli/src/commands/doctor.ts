import { arch, cpus, freemem, platform, totalmem } from "node:os";
import { describeEngines } from "@genai/core";
import { cacheDirectory, type DatasetEntry, DataUnavailableError, datasets } from "@genai/datasets";
import type { Command } from "commander";
import { exitCode, exitCodeHelp } from "../exit-code.ts";
import { enginePackages, installedVersions } from "../installed-versions.ts";
import { alignColumns, bold, dim, green, printJson, printLine, red } from "../terminal.ts";

interface DataDiagnosis {
  readonly name: string;
  readonly description: string;
  /** `here` needs no network; `download` does; `missing` has no address; `damaged` is there but is not what was published. */
  readonly state: "here" | "drawn" | "download" | "missing" | "damaged";
  readonly detail: string;
}

/** Adds `genai doctor`. */
export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("say which engines, devices and data sets can be had here, and how to get the others")
    .option("--json", "print the findings as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  genai doctor
  genai doctor --json | jq '.engines[] | select(.works) | .name'
${exitCodeHelp}`,
    )
    .action(async ({ json = false }: { json?: boolean }) => {
      const engines = await describeEngines();
      const data = await Promise.all(Object.entries(datasets).map(([name, entry]) => diagnose(name, entry)));
      const memory = { totalGiB: gib(totalmem()), freeGiB: gib(freemem()) };
      const machine = {
        node: process.version,
        platform: `${platform()}-${arch()}`,
        cpu: cpus()[0]?.model ?? "unknown",
        cores: cpus().length,
        memory,
      };
      const cache = await cacheDirectory();
      const dataDir = process.env.GENAI_DATA_DIR || null;
      const versions = installedVersions();
      if (json) printJson({ machine, versions, engines, data, dataDir, cache });
      else {
        printLine(bold("Machine"));
        print([
          ["Node", `${machine.node} on ${machine.platform}`],
          ["Processor", `${machine.cpu}, ${machine.cores} cores`],
          ["Memory", `${memory.freeGiB} of ${memory.totalGiB} GiB free`],
        ]);
        printLine(bold("\nEngines, fastest first"));
        print(engines.map(({ name, works, detail }) => [works ? green("works") : red("missing"), name, detail]));
        printLine(bold("\nData sets"));
        const colour = { here: green, drawn: green, download: green, missing: dim, damaged: red };
        print(data.map(({ name, state, detail }) => [colour[state](state), name, detail]));
        print([
          ["GENAI_DATA_DIR", dataDir ?? dim("not set")],
          ["Cache", cache],
        ]);
        printLine(bold("\nPackages"));
        print(enginePackages.map((name) => [name, versions[name] ?? dim("not installed")]));
      }
      if (!engines.some((engine) => engine.works)) process.exitCode = exitCode.unavailable;
    });
}

const print = (rows: readonly (readonly string[])[]) => {
  for (const line of alignColumns(rows.map((row) => ["", ...row]))) printLine(line);
};

const gib = (bytes: number) => Number((bytes / 2 ** 30).toFixed(1));

async function diagnose(name: string, entry: DatasetEntry): Promise<DataDiagnosis> {
  const { description, downloadBytes, fromDataDirOnly } = entry;
  if (downloadBytes === 0) return { name, description, state: "drawn", detail: description };
  try {
    // A mirror that nothing listens on: what is here is found and verified, and nothing is downloaded.
    await entry.load({ split: "test", mirrors: ["http://127.0.0.1:9/"], retries: 0 });
    return { name, description, state: "here", detail: description };
  } catch (error) {
    if (error instanceof DataUnavailableError && fromDataDirOnly) {
      const detail = `${description}; has no public address: put its files into GENAI_DATA_DIR, as its README says`;
      return { name, description, state: "missing", detail };
    }
    if (error instanceof DataUnavailableError) {
      const detail = `${description}; ${(downloadBytes / 2 ** 20).toFixed(1)} MiB to download when it is first used`;
      return { name, description, state: "download", detail };
    }
    return { name, description, state: "damaged", detail: error instanceof Error ? error.message : String(error) };
  }
}
