import { FormatError } from "@genai/core";
import { checkChoice, checkWhole } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { DatasetInfo } from "./dataset.ts";

// N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, "Modeling temporal dependencies in high-dimensional sequences", ICML
// 2012, whose splits these are.

const home = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/";

const file = (name: string, bytes: number, sha256: string): DataFile => ({
  path: `jsb-chorales/${name}`,
  urls: [home + name],
  bytes,
  sha256,
});

/** The files of the chorales, by grid. */
export const jsbChoralesFiles = {
  "16th": file("jsb-chorales-16th.json", 1_741_172, "8730aca7b64e7d29493733d1cf19fad4a5b351d8f1845e57dac27728104fd39f"),
  quarter: file(
    "jsb-chorales-quarter.json",
    407_200,
    "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
  ),
  "16th-voices": file(
    "Jsb16thSeparated.json",
    1_666_444,
    "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7",
  ),
} as const;

/** A piece of music on a grid: the MIDI pitches (60 = middle C) that sound at each step. */
export type Piece = readonly (readonly number[])[];

/** Pieces of music on a common grid. */
export interface MusicSet extends DatasetInfo {
  readonly pieces: readonly Piece[];
  readonly stepsPerQuarter: number;
}

export interface LoadJsbChoralesOptions extends ResolveOptions {
  /** The published splits: 229, 76 and 77 chorales. */
  readonly split: "train" | "valid" | "test";
  /**
   * Steps of a sixteenth or a quarter, each a list of pitches; or of a sixteenth with exactly four voices: soprano, alto,
   * tenor, bass, -1 where one is silent. Default "16th".
   */
  readonly grid?: "16th" | "quarter" | "16th-voices";
}

/**
 * Four-part chorales by J. S. Bach. `pianoRoll` and `pianoRollWindows` make arrays of them.
 *
 * @throws as `loadMnist`.
 */
export async function loadJsbChorales({ split, grid = "16th", ...options }: LoadJsbChoralesOptions): Promise<MusicSet> {
  checkChoice("loadJsbChorales", "split", split, ["train", "valid", "test"]);
  checkChoice("loadJsbChorales", "grid", grid, Object.keys(jsbChoralesFiles));
  const source = jsbChoralesFiles[grid];
  const { bytes } = await resolveFile(source, { caller: "loadJsbChorales", ...options });
  const content = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, Piece[]>;
  const pieces = content[split];
  if (!Array.isArray(pieces)) throw new FormatError(`loadJsbChorales: ${source.path} has no part ${split}`);
  return {
    name: `jsb-chorales-${grid}-${split}`,
    source: "https://github.com/czhuang/JSB-Chorales-dataset",
    licence: "public domain music (J. S. Bach); the data's repository states no licence",
    pieces,
    stepsPerQuarter: grid === "quarter" ? 1 : 4,
  };
}

/** Pitch of the piano's lowest key: column 0 of a piano roll. */
export const lowestPianoPitch = 21;
const keys = 88;

/**
 * A piece as a piano roll: T * 88 bytes, row-major, 1 where the key sounds; column k is MIDI pitch 21 + k.
 *
 * @throws if a pitch is beyond the piano's keys 21 to 108; negative ones are silence.
 */
export function pianoRoll(piece: Piece): Uint8Array {
  const roll = new Uint8Array(piece.length * keys);
  for (const [step, pitches] of piece.entries()) {
    for (const pitch of pitches) {
      if (pitch < 0) continue;
      const key = pitch - lowestPianoPitch;
      if (!Number.isInteger(key) || key < 0 || key >= keys) {
        throw new Error(`pianoRoll: pitch (${pitch}) at step ${step} must be a whole number from 21 to 108`);
      }
      roll[step * keys + key] = 1;
    }
  }
  return roll;
}

/** The pitches that sound at each step of a piano roll of T * 88 values; values of at least 1/2 sound. */
export function pitchesOfRoll(roll: ArrayLike<number>): number[][] {
  if (roll.length % keys !== 0) {
    throw new Error(`pitchesOfRoll: roll has ${roll.length} values; expected a multiple of ${keys}`);
  }
  return Array.from({ length: roll.length / keys }, (_, step) => {
    const pitches: number[] = [];
    for (let key = 0; key < keys; key++) if (roll[step * keys + key]! >= 0.5) pitches.push(lowestPianoPitch + key);
    return pitches;
  });
}

/** Windows of piano rolls, which `batches` takes. */
export interface PianoRollSet extends DatasetInfo {
  /** Row-major: n * steps * 88 values, 0 or 1. `batches` makes float32 [B, steps, 88] of them. */
  readonly rolls: Uint8Array;
  /** [n, steps, 88] */
  readonly shape: readonly [number, number, number];
  readonly stepsPerQuarter: number;
}

export interface PianoRollWindowsOptions {
  /** Steps in a window: T. */
  readonly steps: number;
  /** Steps from one window to the next of a piece. Default `steps`. */
  readonly hop?: number;
}

/**
 * Cuts pieces into windows of equal length. What is left at the end of a piece is dropped, as are shorter pieces.
 *
 * @throws if no piece is long enough.
 */
export function pianoRollWindows(set: MusicSet, { steps, hop = steps }: PianoRollWindowsOptions): PianoRollSet {
  checkWhole("pianoRollWindows", { steps, hop }, 1);
  const windows = (piece: Piece) => Math.max(0, Math.floor((piece.length - steps) / hop) + 1);
  const n = set.pieces.reduce((sum, piece) => sum + windows(piece), 0);
  if (n === 0) {
    const longest = set.pieces.reduce((most, piece) => Math.max(most, piece.length), 0);
    throw new Error(`pianoRollWindows: steps (${steps}) must be at most ${longest}, the length of the longest piece`);
  }
  const rolls = new Uint8Array(n * steps * keys);
  let at = 0;
  for (const piece of set.pieces) {
    const roll = pianoRoll(piece);
    for (let i = 0; i < windows(piece); i++) {
      rolls.set(roll.subarray(i * hop * keys, (i * hop + steps) * keys), at);
      at += steps * keys;
    }
  }
  const { name, source, licence, stepsPerQuarter } = set;
  return { name, source, licence, rolls, shape: [n, steps, keys], stepsPerQuarter };
}
