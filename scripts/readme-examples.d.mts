export interface ReadmeExample {
  /** File and line, such as `packages/core/README.md:12`. */
  title: string;
  file: string;
  run: boolean;
  code: string;
}
export function writeReadmeExamples(): ReadmeExample[];
