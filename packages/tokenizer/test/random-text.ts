/** A seeded generator of whole numbers in [0, bound): the same strings in every run. */
export function randomNumbers(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % bound;
  };
}

const snippets = [
  "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ll '\u017f 'x ",
  "  \t\n\r\n \u00a0\u3000\u2028\u0085\ufeff   ",
  "hello World HTTPServer camelCase don't DON'T it's ",
  "0123456789 ²½Ⅷ٣ 12.5e-3 ",
  "naïve café e\u0301 a\u0308\u0323 \u0301x ª º ʰ ǅ ",
  "中文字 日本語 カタカナ 한국어 ㄱㅏ ",
  "שלום مرحبا سلام ",
  "😀👩‍👩‍👧‍👦👍🏽🇩🇪❤️ ",
  "for (let i = 0; i < n; i++) { x[i] += `y`; } // #!?/\\|~^$ ",
  "!!!???...,,,---___///\n\n",
  "▁Ġ§ \u200b\u200d\u200e ",
];

/** A string of up to `most` characters out of all kinds: words, whitespace, marks, emoji, code, any code point. */
export function randomText(next: (bound: number) => number, most: number, anyCodePoint = true): string {
  let text = "";
  const count = 1 + next(most);
  for (let i = 0; i < count; i++) {
    const kind = next(8);
    if (kind === 0 && anyCodePoint) {
      const codePoint = next(3) === 0 ? next(0x110000) : next(0x3000);
      if (codePoint < 0xd800 || codePoint > 0xdfff) text += String.fromCodePoint(codePoint);
    } else if (kind <= 1) {
      text += " \t\n\r"[next(4)]!.repeat(1 + next(3));
    } else {
      const snippet = [...snippets[next(snippets.length)]!];
      const start = next(snippet.length);
      text += snippet.slice(start, start + 1 + next(6)).join("");
    }
  }
  return text;
}
