import { expect, test } from "vitest";
import { createByteTokenizer, createTokenizer, TextStream, type Tokenizer } from "../src/index.ts";
import { randomNumbers } from "./random-text.ts";

const bytes = createByteTokenizer({ specialTokens: ["<|end|>"] });

/** Feeds ids one at a time and notes what each shows. */
function pieces(stream: TextStream, ids: Iterable<number>): string[] {
  const shown = Array.from(ids, (id) => stream.push(id));
  return [...shown, stream.flush()];
}

const written = (stop: string | readonly string[], text: string) => {
  const stream = new TextStream(bytes, { stop });
  return { shown: pieces(stream, bytes.encode(text).ids), stopped: stream.stopped };
};

test("a character shows once all of its bytes are there", () => {
  const stream = new TextStream(bytes);
  expect(pieces(stream, bytes.encode("aé😀").ids)).toEqual(["a", "", "é", "", "", "", "😀", ""]);
  expect(stream.stopped).toBeUndefined();
});

test("what may begin a stop string is held back until it is clear", () => {
  expect(written("END", "anENxEND!")).toEqual({ shown: ["a", "n", "", "", "ENx", "", "", "", "", ""], stopped: "END" });
  expect(written("END", "xEN").shown).toEqual(["x", "", "", "EN"]);
});

test("a stop string within one token ends the text before it, and nothing shows after it", () => {
  const stream = new TextStream(bytes, { stop: ["\n\n", "###"] });
  expect(stream.push(bytes.encode("one\n\ntwo###").ids)).toBe("one");
  expect(stream.stopped).toBe("\n\n");
  expect([stream.push(bytes.encode("more").ids), stream.flush()]).toEqual(["", ""]);
});

test("of overlapping stop strings the one that is complete first ends the text, of equals the longest", () => {
  expect(written(["abcd", "c"], "abcd")).toEqual({ shown: ["", "", "ab", "", ""], stopped: "c" });
  expect(written(["cd", "abcd", "d"], "xabcd")).toMatchObject({ shown: ["x", "", "", "", "", ""], stopped: "abcd" });
  expect(written(["aab"], "aaab")).toMatchObject({ shown: ["", "", "a", "", ""], stopped: "aab" });
});

test("stop strings may hold characters of several bytes", () => {
  expect(written("—😀", "a—é—😀b")).toMatchObject({ stopped: "—😀" });
  expect(written("—😀", "a—é—😀b").shown.join("")).toBe("a—é");
});

test("bytes that never become a character show as U+FFFD at the end", () => {
  const stream = new TextStream(bytes, { stop: "x" });
  expect(stream.push(bytes.encode("😀").ids.subarray(0, 2))).toBe("");
  expect(stream.flush()).toBe("\ufffd");
});

test("special tokens are left out unless they are asked for, and unknown ids add nothing", () => {
  expect(pieces(new TextStream(bytes), [97, 256, 9999, 98]).join("")).toBe("ab");
  expect(pieces(new TextStream(bytes, { skipSpecialTokens: false }), [97, 256]).join("")).toBe("a<|end|>");
});

test("the ids before the first decide on a space in vocabularies that write spaces into words", () => {
  const tokens = ["<unk>", "▁", "▁a", "▁b"];
  const space = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: false } as const;
  const tokenizer = createTokenizer({
    pre_tokenizer: space,
    decoder: space,
    model: { type: "BPE", unk_token: "<unk>", vocab: Object.fromEntries(tokens.map((t, id) => [t, id])), merges: [] },
  });
  expect(pieces(new TextStream(tokenizer), [2, 3]).join("")).toBe("a b");
  expect(pieces(new TextStream(tokenizer, { after: [2, 3] }), [2, 3]).join("")).toBe(" a b");
});

test.each(["", "a\ud83d", "\ude00"])("the stop string %j is refused", (stop) => {
  expect(() => new TextStream(bytes, { stop: ["fine", stop] })).toThrow(/stop string .* must be text of at least one/);
});

test("streams agree with a search through the whole text, however it is cut", () => {
  const next = randomNumbers(7);
  const letters = ["a", "b", "é", "😀"];
  const word = (most: number) => Array.from({ length: 1 + next(most) }, () => letters[next(letters.length)]).join("");
  let ended = 0;
  for (let round = 0; round < 3000; round++) {
    const text = word(30);
    const stops = Array.from({ length: next(4) }, () => word(4));
    const expected = searched(text, stops);
    const stream = new TextStream(bytes, { stop: stops });
    const { ids } = bytes.encode(text);
    let shown = "";
    for (let i = 0; i < ids.length; ) {
      const until = i + 1 + next(6);
      const piece = stream.push(ids.subarray(i, until));
      shown += piece;
      i = until;
      // Nothing that was shown has to be taken back.
      expect(expected.text.startsWith(shown)).toBe(true);
      if (!stream.stopped)
        expect(shown + heldBack(prefixOf(bytes, ids.subarray(0, i)), stops)).toBe(prefixOf(bytes, ids.subarray(0, i)));
    }
    expect({ text: shown + stream.flush(), stopped: stream.stopped }).toEqual(expected);
    if (stream.stopped) ended++;
  }
  expect(ended).toBeGreaterThan(500);
});

/** The text before the stop string that ends first, by looking at every place. */
function searched(text: string, stops: readonly string[]): { text: string; stopped: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - found.length), stopped: found };
  }
  return { text, stopped: undefined };
}

/** The complete characters of ids. */
const prefixOf = (tokenizer: Tokenizer, ids: Iterable<number>) => tokenizer.decode(ids).replace(/\ufffd+$/, "");

/** The longest end of a text that begins a stop string. */
function heldBack(text: string, stops: readonly string[]): string {
  for (let start = 0; start < text.length; start++) {
    if (stops.some((stop) => stop.startsWith(text.slice(start)))) return text.slice(start);
  }
  return "";
}
