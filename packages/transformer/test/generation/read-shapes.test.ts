import { expect, it } from "vitest";
import { freshGroup } from "../../src/generation/read-shapes.ts";

it("reads prompts together where more than half of the rows are needed", () => {
  const alike = (count: number, length: number) => Array<number>(count).fill(length);
  const groups = [1, 2, 3, 4, 8, 9, 20].map((count) => freshGroup(alike(count, 12), 256));
  expect(groups.map(({ rows }) => rows)).toEqual([1, 1, 4, 4, 4, 16, 16]);
  expect(freshGroup(alike(2, 12), 256)).toEqual({ rows: 1, width: 12 });
  expect(freshGroup(alike(9, 20), 256)).toEqual({ rows: 4, width: 32 });
  expect(freshGroup(alike(9, 20), 64)).toEqual({ rows: 1, width: 20 });
  expect(freshGroup(alike(9, 40), 256)).toEqual({ rows: 1, width: 40 });
  // Those that are longer do not fit.
  expect(freshGroup([12, 40, 40, 10], 256)).toEqual({ rows: 1, width: 12 });
  expect(freshGroup([12, 40, 16, 10], 256)).toEqual({ rows: 4, width: 16 });
});
