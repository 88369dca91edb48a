import { type Draw, Rng, type RngState } from "@genai/core";
import type { Tensor } from "@tensorflow/tfjs";

/** What a traced function did with its random streams, to be repeated on the host at every call. */
export type RngStep =
  /** Stream `stream` draws; the numbers feed the graph's input `input`. */
  | { readonly stream: number; readonly input: string; readonly request: Draw }
  /** Stream `stream` forks under `label` into a new stream, numbered in order of creation. */
  | { readonly stream: number; readonly label: string | number };

/** Makes the input of the graph for a draw; `tensor` gives tensors that stand for it. */
export type MakeInput = (
  request: Draw,
  shape: readonly number[],
) => { readonly input: string; readonly tensor: () => Tensor };

/** What a stream and its copies have done, in order: each makes the same draws. */
type Done =
  | { readonly what: string; readonly tensor: () => Tensor }
  | { readonly what: string; readonly stream: number; readonly log: Done[] };

/** Where a recording stream stands. */
interface Place {
  readonly stream: number;
  readonly log: Done[];
  readonly at: number;
  readonly each?: ((draw: Tensor) => Tensor) | undefined;
}

/** The Rng that a function gets while it is traced: draws become inputs of the graph. */
export class RecordingRng extends Rng {
  readonly #steps: RngStep[];
  readonly #streams: { count: number };
  readonly #makeInput: MakeInput;
  #place: Place;

  constructor(steps: RngStep[], streams: { count: number }, makeInput: MakeInput, place?: Place) {
    super(0);
    this.#steps = steps;
    this.#streams = streams;
    this.#makeInput = makeInput;
    this.#place = place ?? { stream: streams.count++, log: [], at: 0 };
  }

  override copy(each?: (draw: Tensor) => Tensor): Rng {
    return this.#at({ ...this.#place, each });
  }

  override fork(label: string | number): Rng {
    const { stream, each } = this.#place;
    const done = this.#next(`fork("${label}")`, (what) => {
      this.#steps.push({ stream, label });
      return { what, stream: this.#streams.count++, log: [] };
    }) as Extract<Done, { stream: number }>;
    return this.#at({ stream: done.stream, log: done.log, at: 0, each });
  }

  protected override drawTensor(request: Draw, shape: readonly number[]): Tensor {
    const { stream, each } = this.#place;
    const done = this.#next(`${JSON.stringify(request)} of shape [${shape}]`, (what) => {
      const { input, tensor } = this.#makeInput(request, shape);
      this.#steps.push({ stream, input, request });
      return { what, tensor };
    }) as Extract<Done, { tensor: unknown }>;
    const draw = done.tensor();
    return each?.(draw) ?? draw;
  }

  #at(place: Place): RecordingRng {
    return new RecordingRng(this.#steps, this.#streams, this.#makeInput, place);
  }

  /** What is done here: the same as a copy did at this place, or something new. */
  #next(what: string, make: (what: string) => Done): Done {
    const { log, at } = this.#place;
    this.#place = { ...this.#place, at: at + 1 };
    log[at] ??= make(what);
    const done = log[at];
    if (done.what !== what) {
      throw new Error(
        `Rng.copy: a compiled function drew ${what} where a copy of the stream drew ${done.what}; expected the same draws`,
      );
    }
    return done;
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
