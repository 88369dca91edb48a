import { expect, test } from "vitest";
import { BoundedRegex } from "../../src/regex/bounded-regex.ts";
import { randomNumbers, randomText } from "../random-text.ts";

function matches(pattern: string, text: string): string[] {
  const found: string[] = [];
  new BoundedRegex(pattern).forEachMatch(text, (start, end) => found.push(text.slice(start, end)));
  return found;
}

test.each([
  ["a|ab", "ab", ["a"]],
  ["a+?b", "aab b", ["aab"]],
  ["a{2,3}", "aaaaa", ["aaa", "aa"]],
  ["a{2,3}?", "aaaaa", ["aa", "aa"]],
  ["a*+a", "aaa", []],
  ["(?>a+)ab|a", "aab", ["a", "a"]],
  ["(?i:ab)c", "aBc ABC", ["aBc"]],
  ["a(?i)b|c", "aB C c", ["aB", "c"]],
  ["(?<=a|bc)d", "ad bcd cd", ["d", "d"]],
  ["(?<!a)d", "ad bd", ["d"]],
  ["a(?=b)|b(?!c)", "ab bc b", ["a", "b", "b"]],
  ["^.", "a\nb\n", ["a", "b"]],
  [".$", "a\nb", ["a", "b"]],
  ["\\Aa|b\\z", "aab\nb", ["a", "b"]],
  ["\\b\\w", "ab, cd", ["a", "c"]],
  ["[[:upper:]&&[^A]]", "ABC", ["B", "C"]],
  ["[^\\s\\p{L}]+", "a1 ;b", ["1", ";"]],
  ["\\p{Greek}|\\p{Han}", "aα中", ["α", "中"]],
  ["\\h+\\R", "ff\r\n0\n", ["ff\r\n", "0\n"]],
  ["(?:a?)*b", "aaab", ["aaab"]],
  ["(a|b)*c", "abac", ["abac"]],
  ["\\x{1F600}|\\u00e9", "😀é", ["😀", "é"]],
  [".", "😀a", ["😀", "a"]],
  ["(?x) a  b # comment", "ab", ["ab"]],
])("matches %s in %s", (pattern, text, expected) => {
  expect(matches(pattern, text)).toEqual(expected);
});

test("empty matches fall between characters and not behind a match", () => {
  const places: number[] = [];
  new BoundedRegex("(?=b)|a").forEachMatch("a😀b", (start) => places.push(start));
  expect(places).toEqual([0, 3]);
  expect(matches("x*", "xx😀").length).toBe(2);
});

test.each(["\\s+$|\\S+?(?=[.!])", "(?:\\w+[ .])*?\\d", "[^\\p{L}]?(?:\\p{Lu}\\p{Ll}+|\\p{L})", "(?<=\\S )\\S+"])(
  "%s agrees with JavaScript's engine on random texts",
  (pattern) => {
    const next = randomNumbers(9);
    const native = new RegExp(
      pattern
        .replaceAll("\\w", "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}²³¹¼½¾]")
        .replaceAll("\\s", "\\p{White_Space}")
        .replaceAll("\\S", "\\P{White_Space}")
        .replaceAll("\\d", "\\p{Nd}")
        // A line ends before a line feed, not before the other line breaks that JavaScript has.
        .replaceAll("$", "(?=\\n|$(?![\\s\\S]))"),
      "gu",
    );
    for (let i = 0; i < 2000; i++) {
      const text = randomText(next, 10);
      expect(matches(pattern, text)).toEqual(text.match(native) ?? []);
    }
  },
);

test.each([
  ["(a+)+$", `${"a".repeat(3000)}!`],
  ["(?:a|aa)+!", "a".repeat(3000)],
  ["(?=(?:x*)*y)z|(?:.*.*)*=", "x".repeat(3000)],
])("%s stops with an error", (pattern, text) => {
  expect(() => matches(pattern, text)).toThrow("backtracks without end");
});

test("runs of a million characters neither overflow the stack nor take quadratic time", () => {
  const long = "a".repeat(1_000_000);
  expect(matches("(?:a|b)+", long)).toHaveLength(1);
  expect(matches("\\s+(?!\\S)|\\s+|a", " ".repeat(1_000_000))).toHaveLength(1);
});

test.each([
  ["(a)\\1", "uses a backreference"],
  ["\\X", "uses \\X"],
  ["\\Ka", "uses \\K"],
  ["\\p{Nothing}", "names a Unicode property (Nothing)"],
  ["(?:(?:ab){1000}){1000}", "is too large"],
  ["(?<=a{500})b", "looks back by more than"],
])("%s is refused: %s", (pattern, message) => {
  expect(() => new BoundedRegex(pattern)).toThrow(message);
});
