import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from "onnxruntime-common";
import { sizeOf } from "../graph/graph.ts";
import { encodeOnnx, type OnnxModel } from "../graph/onnx-file.ts";
import { BufferPool, type Elements } from "./buffer-pool.ts";

/** A graph that ONNX Runtime has taken and prepared. */
export interface Program {
  /**
   * Runs the graph on inputs by name; resolves to its outputs in order. Not re-entrant.
   *
   * @param places memory for outputs, by their number: that of an input which an operator updates in place. What is written
   *   there comes back as the same tensor; a runtime that cannot do so leaves it alone.
   */
  run(feeds: Readonly<Record<string, OrtTensor>>, places: ReadonlyMap<number, OrtTensor>): Promise<OrtTensor[]>;
  release(): Promise<void>;
}

/** How graphs become programs and what happens to the memory of their results. */
export interface Loader {
  load(model: OnnxModel): Promise<Program>;
  /** Takes back a result that nobody holds any more. */
  recycle(tensor: OrtTensor): void;
  /** Whether `recycle` makes memory be written to again, so that readers need copies. */
  readonly reusesMemory: boolean;
}

type CreateSession = (bytes: Uint8Array) => Promise<InferenceSession>;

/** A session, and how many of its results there are: their memory, where it is a device's, goes with it. */
interface Owner {
  readonly session: InferenceSession;
  results: number;
  /** Whether it is released with the last of them. */
  ended: boolean;
}

/** Results in memory of the runtime's choosing. */
export function plainLoader(createSession: CreateSession): Loader {
  const owners = new WeakMap<OrtTensor, Owner>();
  return {
    reusesMemory: false,
    load: async (model) => {
      const owner: Owner = { session: await createSession(encodeOnnx(model)), results: 0, ended: false };
      return {
        run: async (feeds) => {
          const results = await owner.session.run(feeds);
          return model.outputs.map(({ name }) => {
            const tensor = results[name] as OrtTensor;
            if (tensor.location !== "cpu") {
              owners.set(tensor, owner);
              owner.results++;
            }
            return tensor;
          });
        },
        release: async () => {
          owner.ended = true;
          if (owner.results === 0) await owner.session.release();
        },
      };
    },
    recycle: (tensor) => {
      const owner = owners.get(tensor);
      // Memory of JavaScript's is left to its collector.
      if (!owner) return;
      owners.delete(tensor);
      tensor.dispose();
      owner.results--;
      if (owner.ended && owner.results === 0) void owner.session.release().catch(() => {});
    },
  };
}

/** The output that ends a call; see `inPlaceLoader`. */
const END = "end";
const ENDED = /^Non tensor type is temporarily not supported/;

/**
 * Results in memory that is given to the runtime and used again after their disposal.
 *
 * onnxruntime-node writes an output into the memory that it is given, but then also copies every output into an
 * ArrayBuffer of its own: for a training step that is the whole state, a tenth of the time, and garbage of that size for
 * the collector. It makes the copies in the order of the outputs, after the graph has run. So an output that it cannot
 * convert is declared first, an empty sequence: the call then ends with an error that says so, and what was computed
 * stands in the memory given. `loadOnnxRuntime` tries this on a small graph and takes `plainLoader` where it does not work.
 */
export function inPlaceLoader(createSession: CreateSession, Tensor: TensorConstructor): Loader {
  const pool = new BufferPool();
  return {
    reusesMemory: true,
    load: async (model) => {
      const session = await createSession(encodeOnnx({ ...model, sequenceOutput: END }));
      return {
        run: async (feeds, places) => {
          const fetches: Record<string, OrtTensor | null> = { [END]: null };
          for (const [i, { name, value }] of model.outputs.entries()) {
            const fresh = () => pool.take(value.type, sizeOf(value.shape)) as Float32Array;
            fetches[name] = places.get(i) ?? new Tensor(value.type as "float32", fresh(), value.shape);
          }
          try {
            await session.run(feeds, fetches);
          } catch (error) {
            if (!(error instanceof Error && ENDED.test(error.message))) throw error;
          }
          return model.outputs.map(({ name }) => fetches[name] as OrtTensor);
        },
        release: () => session.release(),
      };
    },
    recycle: (tensor) => pool.give(tensor.data as Elements),
  };
}
