import { expect, test } from "vitest";
import { loadTokenizer, trainBpe, trainUnigram } from "../src/index.ts";
import { randomNumbers, randomText } from "./random-text.ts";

const texts = ["the cat sat on the mat", "the dog sat on the log", "naïve café 日本語 😀", "x = y + 1;\n\tz()"];

test("trains, saves, loads and encodes in a browser", async () => {
  const trained = await trainBpe(texts, { vocabSize: 300, specialTokens: ["<|end|>"] });
  const file = new File([JSON.stringify(trained.toJson())], "tokenizer.json");
  const loaded = await loadTokenizer([file]);
  const next = randomNumbers(5);
  for (let i = 0; i < 500; i++) {
    const text = randomText(next, 12);
    const encoding = loaded.encode(text);
    expect([...encoding.ids]).toEqual([...trained.encode(text).ids]);
    expect(loaded.decode(encoding.ids)).toBe(text);
    expect(encoding.offsets.at(-1)?.[1]).toBe(text.length);
  }
});

test("loads from a URL and renders a chat template", async () => {
  const trained = await trainUnigram(texts, { vocabSize: 60 });
  const config = { chat_template: "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}" };
  const files: Record<string, unknown> = { "tokenizer.json": trained.toJson(), "tokenizer_config.json": config };
  const loaded = await loadTokenizer("https://models.test/some/", {
    fetch: async (url) => {
      const content =
        files[
          String(url instanceof Request ? url.url : url)
            .split("/")
            .at(-1)!
        ];
      return content === undefined ? new Response(null, { status: 404 }) : new Response(JSON.stringify(content));
    },
  });
  expect([...loaded.encode("the cat").ids]).toEqual([...trained.encode("the cat").ids]);
  expect(await loaded.applyChatTemplate([{ role: "user", content: "hi" }])).toBe("user: hi");
});
