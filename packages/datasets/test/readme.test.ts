import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import {
  type DataFile,
  datasets,
  fashionMnistFiles,
  fashionSpriteFile,
  jsbChoralesFiles,
  mnistFiles,
  namesFile,
  notoEmojiFiles,
  opticalDigitsFiles,
  tableFiles,
  tinyShakespeareFile,
  wikitext2Files,
} from "../src/index.ts";

const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");

/** The cells of the rows of a table below a heading. */
const tableBelow = (heading: string) =>
  readme
    .slice(readme.indexOf(`## ${heading}\n`))
    .match(/^\|.*\|$(\n^\|.*\|$)*/m)![0]
    .split("\n")
    .slice(2)
    .map((row) => row.split("|").slice(1, -1))
    .map((cells) => cells.map((cell) => cell.trim()));

const filesOf: Record<string, readonly DataFile[]> = {
  mnist: [mnistFiles.train.images, mnistFiles.train.labels, mnistFiles.test.images, mnistFiles.test.labels],
  "fashion-mnist": [
    fashionMnistFiles.train.images,
    fashionMnistFiles.train.labels,
    fashionMnistFiles.test.images,
    fashionMnistFiles.test.labels,
  ],
  "fashion-sprite-900": [fashionSpriteFile],
  "optical-digits": [...opticalDigitsFiles.train, ...opticalDigitsFiles.test],
  "noto-emoji": [notoEmojiFiles.images, notoEmojiFiles.names],
  "tiny-shakespeare": [tinyShakespeareFile],
  "wikitext-2": [wikitext2Files.validation, wikitext2Files.test],
  names: [namesFile],
  "jsb-chorales": [jsbChoralesFiles["16th"], jsbChoralesFiles.quarter, jsbChoralesFiles["16th-voices"]],
  iris: [tableFiles.iris],
  wine: [tableFiles.wine],
  "breast-cancer": [tableFiles.breastCancer],
  penguins: [tableFiles.penguins],
  diamonds: [tableFiles.diamonds],
};

describe("the README", () => {
  it("has a line for every set, with source, licence, size and the beginning of each file's SHA-256", () => {
    const rows = tableBelow("Sets");
    const named = rows.flatMap(([name]) => [...name!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));
    expect(named.sort()).toEqual(Object.keys(datasets).sort());
    for (const [name, files] of Object.entries(filesOf)) {
      const cells = rows.find(([first]) => first!.startsWith(`\`${name}\``))!;
      for (const cell of cells) expect(cell, name).not.toBe("");
      expect(cells.at(-1), name).toBe(files.map(({ sha256 }) => `\`${sha256.slice(0, 8)}\``).join(" "));
    }
  });

  it("lists every file with the size and SHA-256 that it is verified by", () => {
    const listed = tableBelow("Files").map(([path, bytes, sha256]) => ({
      path: path!.replaceAll("`", ""),
      bytes: Number(bytes!.replaceAll(",", "")),
      sha256: sha256!.slice(1, 65),
      sha256Of: sha256!.endsWith("*") ? "file" : "content",
    }));
    const verified = Object.values(filesOf)
      .flat()
      .map(({ path, bytes, sha256, sha256Of = "content" }) => ({ path, bytes, sha256, sha256Of }));
    expect(listed).toEqual(verified);
  });
});
