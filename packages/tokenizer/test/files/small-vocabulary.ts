import { BYTE_CHARACTERS } from "../../src/models/byte-alphabet.ts";

// One byte-level vocabulary in GPT-2's files and as ranks.

export const mergeLines = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or"];
export const smallTokens = [...BYTE_CHARACTERS, ...mergeLines.map((line) => line.replace(" ", ""))];

export const vocabText = JSON.stringify(
  Object.fromEntries([...smallTokens, "<|endoftext|>"].map((token, id) => [token, id])),
);
export const mergesText = `#version: 0.2\n${mergeLines.join("\n")}\n`;

const byteOf = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
export const ranksText = smallTokens
  .map((token, id) => `${btoa(String.fromCharCode(...[...token].map((c) => byteOf.get(c)!)))} ${id}\n`)
  .join("");
export const ranksEncoding = {
  pattern: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  specialTokens: { "<|endoftext|>": smallTokens.length },
};

export const bertText = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "wor", "##ld", "!"].join("\n");
