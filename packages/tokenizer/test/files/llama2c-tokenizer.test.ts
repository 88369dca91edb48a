import { describe, expect, it } from "vitest";
import {
  createTokenizer,
  loadTokenizer,
  readLlama2cTokenizer,
  readSentencePiece,
  TokenizerFormatError,
} from "../../src/index.ts";
import { type Draw, mutateBytes } from "../mutate.ts";
import { BYTE, CONTROL, UNKNOWN, writeSentencePiece } from "./write-sentencepiece.ts";

const SPACE = "\u2581";
const hex = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
const learned = [`${SPACE}t`, "he", `${SPACE}the`, `${SPACE}${SPACE}`, "at", "ca", SPACE, ..."etahcné"] as const;
const pieces: [string, number, number?][] = [
  ["<unk>", 0, UNKNOWN],
  ["<s>", 0, CONTROL],
  ["</s>", 0, CONTROL],
  ...Array.from({ length: 256 }, (_, byte): [string, number, number] => [hex(byte), 0, BYTE]),
  ...learned.map((piece, i): [string, number] => [piece, -i]),
];

/** What llama2.c's tokenizer.py writes; `older` is its first version, with characters in place of the bytes' names. */
function tokenizerBin(older = false): Uint8Array {
  const tokens = pieces.map(([piece, score], id) => {
    const byte = id - 3;
    const text =
      id === 1
        ? "\n<s>\n"
        : id === 2
          ? "\n</s>\n"
          : older && byte >= 0 && byte < 256
            ? String.fromCharCode(byte)
            : piece;
    return { score, bytes: new TextEncoder().encode(text.replaceAll(SPACE, " ")) };
  });
  const out = new Uint8Array(4 + tokens.reduce((sum, { bytes }) => sum + 8 + bytes.length, 0));
  const view = new DataView(out.buffer);
  view.setUint32(0, Math.max(...tokens.map(({ bytes }) => bytes.length)), true);
  let at = 4;
  for (const { score, bytes } of tokens) {
    view.setFloat32(at, score, true);
    view.setUint32(at + 4, bytes.length, true);
    out.set(bytes, at + 8);
    at += 8 + bytes.length;
  }
  return out;
}

describe("readLlama2cTokenizer", () => {
  it.each([false, true])("gives the ids of the model that the file was made of (older form: %s)", async (older) => {
    const model = writeSentencePiece({
      pieces,
      modelType: 2,
      byteFallback: true,
      bosId: 1,
      eosId: 2,
      removeExtraWhitespaces: false,
    });
    const want = createTokenizer(readSentencePiece(model));
    const got = await loadTokenizer({ "tokenizer.bin": tokenizerBin(older) });
    for (const text of ["", "the cat", "  the  hat\n", "naïve é € 🐕", "<s>the</s>", "</s>", "a<0x41>b"]) {
      expect([...got.encode(text).ids]).toEqual([...want.encode(text).ids]);
      expect(got.decode(got.encode(text).ids, { skipSpecialTokens: false })).toBe(
        want.decode(want.encode(text).ids, { skipSpecialTokens: false }),
      );
    }
    expect(got.encode("the cat").ids[0]).toBe(1);
    expect(got.tokenToId("</s>")).toBe(2);
  });

  it("names what is wrong", () => {
    const bytes = tokenizerBin();
    const change = (at: number, value: number) => {
      const copy = bytes.slice();
      new DataView(copy.buffer).setUint32(at, value, true);
      return () => readLlama2cTokenizer(copy);
    };
    expect(change(8, 4_000_000_000)).toThrow("token 0 has 4000000000 bytes; expected at most 6");
    expect(change(4, 0x7fc00000)).toThrow("token 0 has the score NaN");
    expect(() => readLlama2cTokenizer(bytes.subarray(0, bytes.length - 1))).toThrow("of which");
    expect(() => readLlama2cTokenizer(bytes.subarray(0, 4 + 8 + 5 + 3))).toThrow("token 1 ends in its header");
    expect(() => readLlama2cTokenizer(bytes.subarray(0, 2))).toThrow("it holds 2 bytes");
    expect(() => readLlama2cTokenizer(bytes.subarray(0, 17))).toThrow("it holds 1 tokens; expected <unk>, <s>, </s>");
  });

  it("throws nothing but errors of the format, whatever the bytes", () => {
    let seed = 1;
    const draw: Draw = (bound) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * bound);
    };
    const bytes = tokenizerBin();
    for (let i = 0; i < 300; i++) {
      try {
        createTokenizer(readLlama2cTokenizer(mutateBytes(draw, bytes))).encode("the cat é");
      } catch (error) {
        expect(error).toBeInstanceOf(TokenizerFormatError);
      }
    }
  });
});
