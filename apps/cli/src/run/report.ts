import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { MetricsLine } from "./metrics-log.ts";

export interface ReportPicture {
  readonly title: string;
  readonly caption: string;
  readonly png: Uint8Array;
}

/** A plot of results: points in the plane in groups of one colour, or a bar for each value. */
export type ReportPlot = {
  readonly title: string;
  readonly caption: string;
  readonly xLabel: string;
  readonly yLabel: string;
} & (
  | {
      readonly kind: "points";
      readonly groups: readonly {
        readonly name: string;
        readonly x: readonly number[];
        readonly y: readonly number[];
      }[];
    }
  | { readonly kind: "bars"; readonly values: readonly number[] }
);

/** A text in the report, shown as it is. */
export interface ReportText {
  readonly title: string;
  readonly caption: string;
  readonly text: string;
}

export interface Report {
  readonly title: string;
  readonly subtitle: string;
  /** Large figures at the top: what was reached, in how long, on what. */
  readonly figures: readonly { readonly label: string; readonly value: string; readonly note?: string }[];
  readonly metrics: readonly MetricsLine[];
  /** Names of the metrics to draw, each list in one chart. */
  readonly charts: readonly {
    readonly title: string;
    readonly caption: string;
    readonly metrics: readonly string[];
  }[];
  readonly plots: readonly ReportPlot[];
  readonly pictures: readonly ReportPicture[];
  readonly texts?: readonly ReportText[];
  /** Names and values in a table at the end. */
  readonly details: readonly (readonly [name: string, value: string])[];
}

const maxPoints = 1500;

/** A page that shows a run: one file, nothing loaded from elsewhere, for light and dark screens. */
export async function renderReport(report: Report): Promise<string> {
  const require = createRequire(import.meta.url);
  const [script, style] = await Promise.all([
    readFile(require.resolve("uplot/dist/uPlot.iife.min.js"), "utf8"),
    readFile(require.resolve("uplot/dist/uPlot.min.css"), "utf8"),
  ]);
  const charts = [
    ...report.charts.map(({ metrics }) => ({
      kind: "lines",
      xLabel: "step",
      yLabel: "",
      names: metrics,
      columns: columns(report.metrics, metrics),
    })),
    ...report.plots.map(plotData),
  ];
  const figures = [...report.charts, ...report.plots];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(report.title)}</title>
<style>${style}${pageStyle}</style>
</head>
<body>
<header>
<h1>${escapeHtml(report.title)}</h1>
<p>${escapeHtml(report.subtitle)}</p>
</header>
<section class="figures">
${report.figures.map(figure).join("\n")}
</section>
${section(
  "charts",
  figures.map(
    ({ title, caption }, i) =>
      `<figure><h2>${escapeHtml(title)}</h2><div class="chart" id="chart-${i}"></div><figcaption>${escapeHtml(caption)}</figcaption></figure>`,
  ),
)}
${section("pictures", report.pictures.map(picture))}
${section("texts", (report.texts ?? []).map(textCard))}
<section>
<h2>Details</h2>
<table>
${report.details.map(([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join("\n")}
</table>
</section>
<script>${script}</script>
<script>
const charts = ${JSON.stringify(charts).replaceAll("<", "\\u003c")};
${chartScript}
</script>
</body>
</html>
`;
}

/** The x axis and one column per metric, thinned to what a screen can show by averaging neighbours. */
function columns(lines: readonly MetricsLine[], metrics: readonly string[]): (number | null)[][] {
  const used = mergeSteps(lines.filter((line) => metrics.some((name) => Number.isFinite(line[name]))));
  const bucket = Math.max(1, Math.ceil(used.length / maxPoints));
  const out: (number | null)[][] = [[], ...metrics.map(() => [])];
  for (let i = 0; i < used.length; i += bucket) {
    const group = used.slice(i, i + bucket);
    out[0]!.push(group.at(-1)!.step);
    for (const [m, name] of metrics.entries()) {
      const values = group.map((line) => line[name]).filter((v): v is number => Number.isFinite(v));
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      out[m + 1]!.push(values.length === 0 ? null : Number(mean.toPrecision(6)));
    }
  }
  return out;
}

/** One line for each step: an evaluation has one of its own, behind that of its step. */
function mergeSteps(lines: readonly MetricsLine[]): MetricsLine[] {
  const merged: MetricsLine[] = [];
  for (const line of lines) {
    const before = merged.at(-1);
    if (before?.step === line.step) merged[merged.length - 1] = { ...before, ...line };
    else merged.push(line);
  }
  return merged;
}

/** A plot as uPlot takes it: x values in rising order, and a column for each group with gaps where others have points. */
function plotData(plot: ReportPlot) {
  const { kind, xLabel, yLabel } = plot;
  if (plot.kind === "bars") {
    return { kind, xLabel, yLabel, names: [plot.yLabel], columns: [plot.values.map((_, i) => i), plot.values] };
  }
  const points = plot.groups.flatMap(({ x, y }, group) => x.map((value, i) => ({ group, x: value, y: y[i]! })));
  points.sort((a, b) => a.x - b.x);
  const rounded = (value: number) => Number(value.toPrecision(4));
  return {
    kind,
    xLabel,
    yLabel,
    names: plot.groups.map(({ name }) => name),
    columns: [
      points.map(({ x }) => rounded(x)),
      ...plot.groups.map((_, group) => points.map((point) => (point.group === group ? rounded(point.y) : null))),
    ],
  };
}

function figure({ label, value, note }: Report["figures"][number]): string {
  const small = note === undefined ? "" : `<span class="note">${escapeHtml(note)}</span>`;
  return `<div><span class="label">${escapeHtml(label)}</span><span class="value">${escapeHtml(value)}</span>${small}</div>`;
}

function section(name: string, cards: readonly string[]): string {
  return cards.length === 0 ? "" : `<section class="${name}">\n${cards.join("\n")}\n</section>`;
}

function picture({ title, caption, png }: ReportPicture): string {
  const data = Buffer.from(png).toString("base64");
  return `<figure><h2>${escapeHtml(title)}</h2><img alt="${escapeHtml(title)}: ${escapeHtml(caption)}" src="data:image/png;base64,${data}"><figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function textCard({ title, caption, text }: ReportText): string {
  return `<figure><h2>${escapeHtml(title)}</h2><pre tabindex="0">${escapeHtml(text)}</pre><figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const pageStyle = `
:root {
  --page: #f7f7f5; --card: #ffffff; --text: #1d1f23; --muted: #63676f; --line: #e2e2de; --grid: #ececea;
  --series-0: #2563b8; --series-1: #c2570c; --series-2: #2b8a5b; --series-3: #8a4fb3; --series-4: #b3261e;
  --series-5: #0f8b9d; --series-6: #a07c00; --series-7: #c4307a; --series-8: #6b5344; --series-9: #7a7f87;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1d2024; --text: #e8e8e6; --muted: #9aa0a8; --line: #33373d; --grid: #2a2e33;
    --series-0: #6ea8f2; --series-1: #f0955a; --series-2: #5fc492; --series-3: #c08fe3; --series-4: #f07f78;
    --series-5: #5cc7d6; --series-6: #d9b941; --series-7: #f08dbd; --series-8: #c3a793; --series-9: #a9aeb6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 24px 64px; max-width: 1120px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header { margin-bottom: 28px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 15px; margin: 0 0 12px; }
header p, figcaption, .label, .note { color: var(--muted); margin: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 16px; margin-bottom: 16px; }
.figures div, figure, section:last-of-type {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin: 0;
}
.figures div { display: flex; flex-direction: column; gap: 2px; }
.label, .note, figcaption { font-size: 13px; }
.value { font-size: 24px; font-weight: 600; letter-spacing: -0.01em; font-variant-numeric: tabular-nums; }
.charts, .pictures, .texts { display: grid; gap: 16px; margin-bottom: 16px; }

.charts { grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); }
.pictures, .texts { grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); }
@media (max-width: 520px) { .charts, .pictures, .texts { grid-template-columns: minmax(0, 1fr); } }
pre {
  margin: 0; max-height: 320px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
figure img { display: block; width: 100%; height: auto; border-radius: 4px; image-rendering: pixelated; }
figcaption { margin-top: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 7px 0; border-top: 1px solid var(--line); font-weight: normal; }
tr:first-child th, tr:first-child td { border-top: 0; }
th { color: var(--muted); width: 200px; padding-right: 24px; }
td { overflow-wrap: anywhere; }
.uplot, .u-legend { font-family: inherit; }
.u-legend { font-size: 13px; text-align: left; color: var(--text); }
.u-legend th { width: auto; padding: 0 4px 0 0; color: var(--text); border: 0; }
.u-legend td { border: 0; padding: 0; }
.u-legend .u-series { padding: 2px 14px 2px 0; }
`;

const chartScript = `
const plots = [];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function draw() {
  for (const plot of plots.splice(0)) plot.destroy();
  charts.forEach(({ kind, xLabel, yLabel, names, columns }, i) => {
    const element = document.getElementById("chart-" + i);
    const axis = { stroke: css("--muted"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1 } };
    const colour = (s) => css("--series-" + (s % 10));
    const style = {
      lines: (s) => ({ stroke: colour(s), width: 1.75, spanGaps: true, points: { show: columns[0].length < 30 } }),
      points: (s) => ({ stroke: colour(s), paths: () => null, points: { show: true, size: 4, fill: colour(s) } }),
      bars: (s) => ({ stroke: colour(s), fill: colour(s), paths: uPlot.paths.bars({ size: [0.8, 60] }), points: { show: false } }),
    }[kind];
    const y = { lines: { range: robustRange }, points: {}, bars: { range: (_, low, high) => [0, high * 1.05 || 1] } }[kind];
    plots.push(new uPlot({
      width: element.clientWidth, height: kind === "points" ? 420 : 280,
      scales: { x: { time: false }, y },
      axes: [{ ...axis, label: xLabel, labelSize: 22, size: 36 }, { ...axis, size: 56, ...(yLabel ? { label: yLabel, labelSize: 22 } : {}) }],
      legend: { live: kind !== "points", show: kind !== "bars" },
      series: [{ label: xLabel }, ...names.map((name, s) => ({
        label: name, value: (_, v) => v == null ? "-" : v.toPrecision(4), ...style(s),
      }))],
    }, columns, element));
  });
}
// The first losses are many times the later ones: they may leave the frame, so that the rest can be seen.
function robustRange(plot, low, high) {
  const values = plot.data.slice(1).flat().filter((v) => v != null).sort((a, b) => a - b);
  if (values.length > 40) high = Math.min(high, values[Math.floor(values.length * 0.99)] * 1.15);
  const pad = (high - low) * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}
draw();
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
`;
