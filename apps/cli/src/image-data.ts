import { type DatasetEntry, type DownloadProgress, datasets, type ImageSet } from "@genai/datasets";
import { UsageError } from "./exit-code.ts";

export interface ImageSplits {
  readonly train: ImageSet;
  readonly test: ImageSet;
  /** "mnist: handwritten digits, 28x28 grey, 10 classes; 60,000 images to train on and 10,000 to test on" */
  readonly summary: string;
}

interface LoadRequest {
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

const imageSets = new Map<string, DatasetEntry<ImageSet>>();
for (const [name, entry] of Object.entries(datasets)) if (entry.kind === "images") imageSets.set(name, entry);

/** Names that `loadImages` takes. */
export const imageSetNames: readonly string[] = [...imageSets.keys()];

/** Loads or draws both splits of an image set. Throws DataUnavailableError if it cannot be had here. */
export async function loadImages(name: string, { signal, note }: LoadRequest): Promise<ImageSplits> {
  const entry = imageSets.get(name);
  if (!entry) throw new UsageError(`No image set is called ${name}; there is ${imageSetNames.join(", ")}`);
  const onProgress = downloadNotes(note);
  const train = await entry.load({ split: "train", signal, onProgress });
  const test = await entry.load({ split: "test", signal, onProgress });
  const count = (set: ImageSet) => set.shape[0].toLocaleString("en");
  const summary = `${name}: ${entry.description}; ${count(train)} images to train on and ${count(test)} to test on`;
  return { train, test, summary };
}

/** Says at most every two seconds how far each download is. */
function downloadNotes(note: (text: string) => void): (progress: DownloadProgress) => void {
  let last = 0;
  return ({ file, received, total }) => {
    const now = performance.now();
    if (now - last < 2000 && received !== total) return;
    last = now;
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
    note(`Downloading ${file}: ${mib(received)}${total === undefined ? "" : ` of ${mib(total)}`} MiB`);
  };
}
