import { downloadPretrained, type HubProgress } from "@genai/transformer";
import { Presets, SingleBar } from "cli-progress";
import { printNote } from "../terminal.ts";

// Models that commands name by their place on the hub, hf:OWNER/NAME, in place of a folder.

export const isHubModel = (path: string): boolean => path.startsWith("hf:");

/** The last part of the name: hf:org/model@main is "model". */
export const hubModelName = (path: string): string => path.replace(/^hf:/, "").replace(/@.*$/s, "").split("/").at(-1)!;

/** How an adapter's file names its base model, so that Python finds it: the hub's names without what is ours in them. */
export const publishedBaseName = (path: string): string => /^hf:([^/@]+\/[^/@]+)$/.exec(path)?.[1] ?? path;

/** The folder in the cache that holds the model, downloaded if it is not there; says how far it is on stderr. */
export async function hubModelFolder(path: string, signal?: AbortSignal): Promise<string> {
  const progress = showDownload(path.replace(/^hf:/, ""));
  try {
    const files = await downloadPretrained(path, { onProgress: progress.update, ...(signal && { signal }) });
    return files as string; // in Node always a folder
  } finally {
    progress.stop();
  }
}

const plainLineEverySeconds = 5;

function showDownload(name: string): { update(progress: HubProgress): void; stop(): void } {
  let first: number | undefined; // bytes that were there before anything came
  let shown = performance.now();
  let bar: SingleBar | undefined;
  return {
    update({ file, loadedBytes, totalBytes }) {
      first ??= loadedBytes;
      const now = performance.now();
      // What is in the cache, or comes in a moment, is not worth a word.
      if (loadedBytes === first || (bar === undefined && now - shown < 500)) return;
      const sizes = { file, loaded: megabytes(loadedBytes), total: megabytes(totalBytes) };
      if (process.stderr.isTTY) {
        if (bar) bar.update(loadedBytes, sizes);
        else {
          bar = new SingleBar(
            {
              format: `{bar} {percentage}%  ${name}  {loaded} of {total} MB  {file}  {eta_formatted} left`,
              barsize: 24,
              fps: 10,
              hideCursor: true,
              gracefulExit: false,
              stream: process.stderr,
            },
            Presets.shades_classic,
          );
          bar.start(totalBytes, loadedBytes, sizes);
        }
      } else if (now - shown >= plainLineEverySeconds * 1000) {
        shown = now;
        printNote(`downloading ${name}: ${sizes.loaded} of ${sizes.total} MB (${file})`);
      }
    },
    stop: () => bar?.stop(),
  };
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
