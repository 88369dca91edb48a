import type { Family } from "../family.ts";
import { imageKind } from "./image-kind.ts";
import { imageArchitectures } from "./image-models.ts";
import { vaeOptions } from "./options.ts";
import { sequenceKind } from "./sequence-kind.ts";
import { tableKind } from "./table-kind.ts";
import { vqKind } from "./vq-kind.ts";

const [first, ...others] = imageArchitectures;

export const vaeFamily: Family = {
  name: "vae",
  summary: "variational autoencoder",
  options: vaeOptions,
  kinds: [imageKind(first), ...others.map(imageKind), vqKind, tableKind, sequenceKind],
};
