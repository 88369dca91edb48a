import { type Draw, Rng, type RngState } from "@genai/core";
import type { Tensor } from "@tensorflow/tfjs";

/** What a traced function did with its random streams, to be repeated on the host at every call. */
export type RngStep =
  /** Stream `stream` draws; the numbers feed the graph's input `input`. */
  | { readonly stream: number; readonly input: string; readonly request: Draw }
  /** Stream `stream` forks under `label` into a new stream, numbered in order of creation. */
  | { readonly stream: number; readonly label: string | number };

/** Makes the input of the graph for a draw and returns the tensor that stands for it. */
export type MakeInput = (
  request: Draw,
  shape: readonly number[],
) => { readonly input: string; readonly tensor: Tensor };

/** The Rng that a function gets while it is traced: draws become inputs of the graph. */
export class RecordingRng extends Rng {
  readonly #steps: RngStep[];
  readonly #streams: { count: number };
  readonly #stream: number;
  readonly #makeInput: MakeInput;

  constructor(steps: RngStep[], streams: { count: number }, makeInput: MakeInput) {
    super(0);
    this.#steps = steps;
    this.#streams = streams;
    this.#stream = streams.count++;
    this.#makeInput = makeInput;
  }

  override fork(label: string | number): Rng {
    this.#steps.push({ stream: this.#stream, label });
    return new RecordingRng(this.#steps, this.#streams, this.#makeInput);
  }

  protected override drawTensor(request: Draw, shape: readonly number[]): Tensor {
    const { input, tensor } = this.#makeInput(request, shape);
    this.#steps.push({ stream: this.#stream, input, request });
    return tensor;
  }

  override draw(): never {
    throw new Error(
      "Rng.draw: gives plain numbers, which a compiled function cannot use; call uniform, normal, ... for tensors",
    );
  }

  override state(): RngState {
    throw new Error("Rng.state: cannot be read inside a compiled function; read it outside");
  }
}

/** Repeats the recorded steps on real streams; calls `feed` with the numbers of every draw. */
export function replay(
  steps: readonly RngStep[],
  roots: readonly Rng[],
  feed: (input: string, values: Float32Array | Int32Array) => void,
): void {
  // Streams are numbered as they were created: the arguments first, then every fork.
  const streams = [...roots];
  for (const step of steps) {
    const stream = streams[step.stream]!;
    if ("label" in step) streams.push(stream.fork(step.label));
    else feed(step.input, stream.draw(step.request));
  }
}
