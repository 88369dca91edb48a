import { foldIntoProducts } from "./fold-products.ts";
import type { Value } from "./graph.ts";
import { joinProducts } from "./join-products.ts";

/** The same outputs, computed by fewer and cheaper operators. It takes the whole graph, so it comes when recording has ended. */
export const optimize = (outputs: readonly Value[]): Value[] => foldIntoProducts(joinProducts(outputs));
