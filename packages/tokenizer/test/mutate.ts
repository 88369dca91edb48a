/** Whole numbers in [0, bound). */
export type Draw = (bound: number) => number;

const pick = <T>(draw: Draw, from: readonly T[]): T => from[draw(from.length)]!;

/** A copy with one to three places changed: bits flipped, bytes inserted, removed, repeated, or the end cut off. */
export function mutateBytes(draw: Draw, bytes: Uint8Array): Uint8Array {
  let out = Array.from(bytes);
  for (let n = 1 + draw(3); n > 0; n--) {
    const at = draw(out.length + 1);
    const length = 1 + draw(pick(draw, [1, 4, 40]));
    switch (draw(6)) {
      case 0:
        if (at < out.length) out[at]! ^= 1 << draw(8);
        break;
      case 1:
        out.splice(at, 0, ...Array.from({ length }, () => draw(256)));
        break;
      case 2:
        out.splice(at, length);
        break;
      case 3:
        out.splice(at, 0, ...out.slice(at, at + length));
        break;
      case 4:
        if (at < out.length) out[at] = pick(draw, [0, 0x0a, 0x20, 0x22, 0x7f, 0x80, 0xff]);
        break;
      default:
        if (draw(4) === 0) out = out.slice(0, at);
    }
  }
  return Uint8Array.from(out);
}

/** A copy of a text with one to three changes, most of them to whole lines. */
export function mutateLines(draw: Draw, text: string): string {
  let lines = text.split("\n");
  for (let n = 1 + draw(3); n > 0; n--) {
    const at = draw(lines.length);
    switch (draw(8)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, lines[draw(lines.length)]!);
        break;
      case 2:
        lines[at] = pick(draw, [
          "",
          " ",
          "a",
          "a b c",
          "\u0000",
          "=",
          "!!! 1",
          "YQ== -1",
          "YQ== 99999999999",
          "\ufeff",
          "a\tb",
        ]);
        break;
      case 3:
        lines[at] = lines[at]!.slice(0, draw(lines[at]!.length + 1));
        break;
      case 4:
        lines[at] = `${lines[at]} ${draw(1000)}`;
        break;
      case 5:
        lines[at] = lines[at]!.split(" ").reverse().join(" ");
        break;
      case 6:
        lines = lines.slice(0, at);
        if (lines.length === 0) return "";
        break;
      default:
        lines[at] = String.fromCharCode(...Array.from({ length: draw(5) }, () => draw(0x10000)));
    }
  }
  return lines.join("\n");
}

const oddValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e9,
  2 ** 53,
  -1e308,
  "",
  " ",
  "a",
  "Ġ",
  "\ud800",
  "__proto__",
  "x".repeat(300),
  [],
  {},
  [[]],
  [null],
  ["a", "b"],
  ["a", "b", "c"],
  { type: "Sequence" },
  { type: "ByteLevel" },
  { Regex: "(" },
  { Regex: "(a*)*b" },
  { Regex: "" },
  { Regex: "(?=a)|\\s+(?!\\S)" },
  { String: "" },
];

/** A copy of parsed JSON with one to three changes to values, keys and lengths of arrays. */
export function mutateJson(draw: Draw, json: unknown): unknown {
  const root = { json: structuredClone(json) } as Record<string, unknown>;
  for (let n = 1 + draw(3); n > 0; n--) {
    const places: [Record<string, unknown> | unknown[], string][] = [];
    const walk = (value: unknown, depth: number) => {
      if (typeof value !== "object" || value === null || depth > 12) return;
      const keys = Object.keys(value);
      // Of long lists and vocabularies a few entries, so that the rest of the file is hit as well.
      const chosen = keys.length > 12 ? Array.from({ length: 6 }, () => pick(draw, keys)) : keys;
      for (const key of chosen) {
        places.push([value as Record<string, unknown>, key]);
        walk((value as Record<string, unknown>)[key], depth + 1);
      }
    };
    walk(root, 0);
    const [parent, key] = pick(draw, places.length > 1 ? places.slice(draw(10) === 0 ? 0 : 1) : places);
    const record = parent as Record<string, unknown>;
    switch (draw(6)) {
      case 0:
        if (Array.isArray(parent)) parent.splice(Number(key), 1);
        else if (parent !== root) delete record[key];
        break;
      case 1:
        if (Array.isArray(parent)) parent.push(record[key]);
        else record[pick(draw, ["type", "extra", "", "vocab", "toString", `${key} `])] = record[key];
        break;
      case 2: {
        const [from, name] = pick(draw, places);
        record[key] = structuredClone((from as Record<string, unknown>)[name]);
        break;
      }
      case 3:
        if (typeof record[key] === "string") {
          const text = record[key] as string;
          const at = draw(text.length + 1);
          record[key] =
            text.slice(0, at) + pick(draw, ["", "(", "\\", "*", "{9}", "🙂", "\udfff"]) + text.slice(at + draw(3));
          break;
        }
        if (typeof record[key] === "number") {
          record[key] = (record[key] as number) + pick(draw, [-1, 1, 0.5, 1000]);
          break;
        }
        record[key] = pick(draw, oddValues);
        break;
      default:
        record[key] = structuredClone(pick(draw, oddValues));
    }
  }
  return root.json;
}
