import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decode } from "fast-png";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contactSheet } from "../src/run/contact-sheet.ts";
import { MetricsLog, readMetrics } from "../src/run/metrics-log.ts";
import { formatDuration, formatNumber } from "../src/run/progress.ts";
import { renderReport } from "../src/run/report.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "genai-run-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("contactSheet", () => {
  it("puts images in rows, scaled by whole pixels, with gaps between", () => {
    const data = Float32Array.from([0, 1, 0.5, 0.5, 2, -1]); // three images of 1x2 pixels; the last is out of range
    const png = decode(contactSheet({ data, shape: [3, 1, 2, 1] }, { columns: 2, scale: 2, gap: 1 }));
    expect([png.width, png.height, png.channels]).toEqual([11, 7, 1]);
    const row = (y: number) => Array.from(png.data.slice(y * 11, (y + 1) * 11));
    expect(row(0)).toEqual(Array(11).fill(64));
    expect(row(1)).toEqual([64, 0, 0, 255, 255, 64, 128, 128, 128, 128, 64]);
    expect(row(2)).toEqual(row(1));
    expect(row(4)).toEqual([64, 255, 255, 0, 0, 64, 64, 64, 64, 64, 64]);
  });

  it("keeps colours", () => {
    const png = decode(
      contactSheet({ data: Float32Array.from([1, 0, 0.2]), shape: [1, 1, 1, 3] }, { columns: 1, scale: 1, gap: 0 }),
    );
    expect([png.channels, ...png.data]).toEqual([3, 255, 0, 51]);
  });

  it("refuses values that do not fill the shape", () => {
    expect(() => contactSheet({ data: new Float32Array(5), shape: [1, 2, 3, 1] }, { columns: 1 })).toThrow(
      "5 values do not fill",
    );
  });
});

describe("MetricsLog", () => {
  it("drops the lines after the step that training goes on from, and a line that was cut short", async () => {
    const file = join(folder, "metrics.jsonl");
    writeFileSync(file, '{"step":1,"seconds":1,"loss":9}\n{"step":2,"seconds":2,"loss":8}\n{"step":3,"sec');
    expect(await readMetrics(file)).toHaveLength(2);
    const log = await MetricsLog.open(file);
    expect(log.lines).toHaveLength(2);
    log.rewind(1);
    log.append({ step: 2, seconds: 3, loss: 7 });
    log.close();
    expect(readFileSync(file, "utf8")).toBe('{"step":1,"seconds":1,"loss":9}\n{"step":2,"seconds":3,"loss":7}\n');
  });

  it("begins with nothing where there is no file", async () => {
    const log = await MetricsLog.open(join(folder, "metrics.jsonl"));
    expect(log.lines).toEqual([]);
    log.close();
  });
});

describe("renderReport", () => {
  it("escapes what it is given", async () => {
    const evil = `<script>alert("x")</script>`;
    const html = await renderReport({
      title: evil,
      subtitle: evil,
      figures: [{ label: evil, value: evil, note: evil }],
      metrics: [{ step: 1, seconds: 1, [evil]: 2 }],
      charts: [{ title: evil, caption: evil, metrics: [evil] }],
      plots: [],
      pictures: [{ title: evil, caption: evil, png: new Uint8Array([1]) }],
      details: [[evil, evil]],
    });
    expect(html).not.toContain(evil);
  });

  it("thins long runs to what a screen can show", async () => {
    const metrics = Array.from({ length: 20_000 }, (_, i) => ({ step: i + 1, seconds: i, loss: i % 2 }));
    const charts = [{ title: "Loss", caption: "", metrics: ["loss"] }];
    const html = await renderReport({
      title: "",
      subtitle: "",
      figures: [],
      metrics,
      charts,
      plots: [],
      pictures: [],
      details: [],
    });
    const [, json] = html.match(/const charts = (.*);/)!;
    const [{ columns }] = JSON.parse(json!);
    expect(columns[0].length).toBeLessThanOrEqual(1500);
    expect(columns[0].at(-1)).toBe(20_000);
    expect(columns[1].slice(0, 3)).toEqual([0.5, 0.5, 0.5]);
  });
});

describe("formatting", () => {
  it("writes durations and numbers as a person would", () => {
    expect([0.2, 59, 61, 3599.5, 7260].map(formatDuration)).toEqual([
      "1 s",
      "59 s",
      "1 min 01 s",
      "1 h 00 min",
      "2 h 01 min",
    ]);
    expect([103.26, 12.346, 0.5, 0, 1e-5, 1.5e7, Number.NaN].map(formatNumber)).toEqual([
      "103.3",
      "12.35",
      "0.500",
      "0.000",
      "1.00e-5",
      "1.50e+7",
      "NaN",
    ]);
  });
});
