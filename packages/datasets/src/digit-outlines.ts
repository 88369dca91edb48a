/** One way to write a digit. */
export interface Outline {
  /** How common it is, relative to the other ways. */
  readonly weight: number;
  /** Control points [x, y] of smooth strokes, in a unit box with y downwards. A repeated point makes a corner. */
  readonly strokes: readonly (readonly (readonly [x: number, y: number])[])[];
}

/** Points on an ellipse, angles in turns clockwise from the right. */
function arc(cx: number, cy: number, rx: number, ry: number, from: number, to: number, n: number): [number, number][] {
  return Array.from({ length: n }, (_, i) => {
    const angle = 2 * Math.PI * (from + ((to - from) * i) / (n - 1));
    return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)];
  });
}

/** Points from their coordinates in turn. */
function path(coordinates: readonly number[]): [number, number][] {
  return Array.from({ length: coordinates.length / 2 }, (_, i) => [coordinates[2 * i]!, coordinates[2 * i + 1]!]);
}

const seven = path([0.14, 0.09, 0.45, 0.06, 0.82, 0.02, 0.82, 0.02, 0.68, 0.33, 0.54, 0.66, 0.42, 1]);

/** Ways to write each digit, by digit. */
export const digitOutlines: readonly (readonly Outline[])[] = [
  // 0
  [
    { weight: 4, strokes: [arc(0.5, 0.5, 0.31, 0.5, -0.2, -1.22, 11)] },
    { weight: 2, strokes: [arc(0.5, 0.5, 0.42, 0.48, -0.3, -1.27, 11)] },
    { weight: 1, strokes: [arc(0.5, 0.5, 0.33, 0.5, -0.13, -1.05, 10)] },
  ],
  // 1
  [
    {
      weight: 6,
      strokes: [path([0.52, 0, 0.51, 0.33, 0.5, 0.67, 0.49, 1])],
    },
    {
      weight: 2,
      strokes: [path([0.34, 0.2, 0.45, 0.1, 0.53, 0, 0.53, 0, 0.52, 0.5, 0.51, 1])],
    },
    {
      weight: 1,
      strokes: [
        path([0.34, 0.18, 0.45, 0.1, 0.53, 0, 0.53, 0, 0.52, 0.5, 0.51, 1]),
        path([0.28, 1, 0.5, 1, 0.74, 0.99]),
      ],
    },
  ],
  // 2
  [
    {
      weight: 4,
      strokes: [
        path([
          0.17, 0.24, 0.3, 0.06, 0.52, 0, 0.74, 0.09, 0.77, 0.3, 0.62, 0.56, 0.37, 0.82, 0.16, 0.99, 0.16, 0.99, 0.5,
          0.97, 0.88, 0.97,
        ]),
      ],
    },
    {
      weight: 4,
      strokes: [
        path([
          0.2, 0.17, 0.4, 0.01, 0.66, 0.03, 0.74, 0.22, 0.65, 0.5, 0.45, 0.8, 0.24, 0.97, 0.1, 0.92, 0.16, 0.78, 0.35,
          0.8, 0.6, 0.94, 0.95, 0.93,
        ]),
      ],
    },
  ],
  // 3
  [
    {
      weight: 5,
      strokes: [
        path([
          0.2, 0.12, 0.45, 0, 0.7, 0.07, 0.74, 0.25, 0.6, 0.41, 0.4, 0.47, 0.4, 0.47, 0.66, 0.51, 0.8, 0.69, 0.71, 0.91,
          0.45, 1, 0.15, 0.91,
        ]),
      ],
    },
    {
      weight: 2,
      strokes: [
        path([
          0.18, 0.04, 0.45, 0.02, 0.76, 0.02, 0.76, 0.02, 0.6, 0.2, 0.43, 0.42, 0.43, 0.42, 0.7, 0.48, 0.82, 0.7, 0.68,
          0.94, 0.4, 1, 0.13, 0.9,
        ]),
      ],
    },
  ],
  // 4
  [
    {
      weight: 5,
      strokes: [
        path([0.2, 0.03, 0.15, 0.28, 0.16, 0.49, 0.35, 0.55, 0.57, 0.53, 0.8, 0.48]),
        path([0.78, 0, 0.75, 0.33, 0.72, 0.67, 0.7, 1]),
      ],
    },
    {
      weight: 3,
      strokes: [
        path([0.6, 0, 0.42, 0.26, 0.12, 0.6, 0.12, 0.6, 0.5, 0.61, 0.92, 0.59]),
        path([0.63, 0.3, 0.62, 0.65, 0.6, 1]),
      ],
    },
    {
      weight: 1,
      strokes: [
        path([0.65, 0.02, 0.4, 0.28, 0.12, 0.62, 0.12, 0.62, 0.5, 0.62, 0.92, 0.6]),
        path([0.65, 0.02, 0.65, 0.4, 0.64, 1]),
      ],
    },
  ],
  // 5
  [
    {
      weight: 4,
      strokes: [
        path([
          0.8, 0.01, 0.55, 0.03, 0.3, 0.05, 0.3, 0.05, 0.26, 0.24, 0.22, 0.43, 0.22, 0.43, 0.48, 0.38, 0.73, 0.48, 0.78,
          0.7, 0.64, 0.92, 0.38, 1, 0.12, 0.92,
        ]),
      ],
    },
    {
      weight: 3,
      strokes: [
        path([
          0.32, 0.06, 0.28, 0.25, 0.26, 0.42, 0.26, 0.42, 0.5, 0.42, 0.72, 0.55, 0.74, 0.76, 0.58, 0.95, 0.34, 1, 0.12,
          0.93,
        ]),
        path([0.32, 0.06, 0.6, 0.03, 0.9, 0]),
      ],
    },
  ],
  // 6
  [
    {
      weight: 5,
      strokes: [
        path([
          0.66, 0, 0.44, 0.17, 0.27, 0.42, 0.2, 0.7, 0.29, 0.93, 0.53, 1, 0.75, 0.86, 0.73, 0.63, 0.54, 0.54, 0.33,
          0.65, 0.24, 0.82,
        ]),
      ],
    },
    {
      weight: 2,
      strokes: [
        path([
          0.42, 0, 0.28, 0.28, 0.22, 0.58, 0.26, 0.86, 0.45, 1, 0.68, 0.93, 0.74, 0.73, 0.6, 0.6, 0.4, 0.66, 0.27, 0.84,
        ]),
      ],
    },
  ],
  // 7
  [
    {
      weight: 5,
      strokes: [seven],
    },
    {
      weight: 2,
      strokes: [path([0.13, 0.2, 0.2, 0.06, 0.5, 0.05, 0.78, 0.02, 0.83, 0.1, 0.7, 0.4, 0.58, 0.7, 0.52, 1])],
    },
    {
      weight: 1.5,
      strokes: [seven, path([0.34, 0.52, 0.58, 0.5, 0.84, 0.47])],
    },
  ],
  // 8
  [
    {
      weight: 5,
      strokes: [
        path([
          0.74, 0.12, 0.52, 0, 0.3, 0.09, 0.3, 0.28, 0.5, 0.45, 0.71, 0.63, 0.72, 0.88, 0.48, 1, 0.25, 0.88, 0.28, 0.65,
          0.52, 0.45, 0.73, 0.27, 0.73, 0.1,
        ]),
      ],
    },
    {
      weight: 2,
      strokes: [arc(0.5, 0.23, 0.23, 0.23, 0.25, 1.26, 9), arc(0.5, 0.73, 0.28, 0.27, -0.25, 0.76, 9)],
    },
  ],
  // 9
  [
    {
      weight: 4,
      strokes: [
        path([
          0.74, 0.2, 0.58, 0.02, 0.34, 0.07, 0.22, 0.29, 0.34, 0.47, 0.57, 0.43, 0.73, 0.2, 0.73, 0.2, 0.71, 0.6, 0.66,
          1,
        ]),
      ],
    },
    {
      weight: 3,
      strokes: [
        path([
          0.72, 0.14, 0.5, 0, 0.28, 0.12, 0.26, 0.34, 0.45, 0.46, 0.66, 0.35, 0.74, 0.14, 0.74, 0.14, 0.74, 0.5, 0.64,
          0.8, 0.44, 0.99, 0.27, 0.95,
        ]),
      ],
    },
  ],
];
