import { type Tree, treeEntries } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { MakeParam } from "../param-makers.ts";
import type { PublishedConfig } from "./config-fields.ts";

/** How one architecture's configuration and parameters stand in published files. */
export interface Architecture<C> {
  /** The values of `model_type` that it reads. */
  readonly modelTypes: readonly string[];
  /** Our parameters of a configuration. */
  makeParams(config: C, make: MakeParam): Tree;
  /**
   * Our configuration of a published one.
   *
   * @param shapes of the tensors in the file, by path, where those and not the configuration say which heads there are
   * @throws FormatError, beginning with `where`, if a field is missing or asks for what is not supported.
   */
  read(published: PublishedConfig, where: string, shapes: ReadonlyMap<string, readonly number[]>): C;
  /** The published configuration of ours. @throws if it has no counterpart. */
  write(config: C): PublishedConfig;
  /**
   * The path in our parameters of a published name; undefined for what is not read.
   *
   * @param has whether the file has a tensor of a name: of tensors that share their values it may hold any
   */
  pathOf(
    name: string,
    config: { readonly tieWordEmbeddings?: boolean },
    has: (name: string) => boolean,
  ): string | undefined;
  /** The published name of a path in our parameters. */
  nameOf(path: string, config: C): string;
  /** Paths and shapes that files have and our parameters lack, written as zeros. */
  zeros?(config: C): Iterable<readonly [path: string, shape: readonly number[]]>;
}

/** A tree of parameters without values, for `treeMap`, and the shapes by path. */
export function paramShapes(params: (make: MakeParam) => Tree): {
  readonly template: Tree;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
} {
  const shapeOf = new Map<number, readonly number[]>();
  let template: Tree;
  // The stand-ins are gone when the scope ends; as places in a tree they still serve.
  tf.tidy(() => {
    template = params((shape) => {
      const stand = tf.scalar(0);
      shapeOf.set(stand.id, shape);
      return stand;
    });
  });
  return { template, shapes: new Map(treeEntries(template).map(([path, { id }]) => [path, shapeOf.get(id)!])) };
}
