import { whitespace } from "../code-point-set.ts";
import { TokenizerFormatError } from "../errors.ts";
import {
  arrayField,
  asObject,
  booleanField,
  describe,
  fail,
  type JsonObject,
  sequenceStages,
  stringField,
  wholeField,
} from "../json-fields.ts";
import type { LayoutItem, PostProcessor } from "../stages.ts";

const text0: LayoutItem = { sequence: 0, typeId: 0 };
const text1: LayoutItem = { sequence: 1, typeId: 1 };

/** One text as it is, or two behind each other with types 0 and 1. */
export const plainPostProcessor: PostProcessor = {
  addedTokens: () => 0,
  layout: (isPair) => (isPair ? [text0, text1] : [text0]),
};

/** The post-processor that a tokenizer.json describes. `where` names the file and the field. */
export function createPostProcessor(json: unknown, where: string): PostProcessor {
  const object = asObject(json, where);
  const type = stringField(object, "type", where);
  switch (type) {
    case "TemplateProcessing":
      return templateProcessing(object, where);
    case "BertProcessing": {
      const cls = special(object, "cls", where);
      const sep = special(object, "sep", where);
      return fixedLayout([cls, text0, sep], [cls, text0, sep, text1, { ...sep, typeId: 1 }]);
    }
    case "RobertaProcessing": {
      const cls = special(object, "cls", where);
      const sep = special(object, "sep", where);
      const second: LayoutItem = { sequence: 1, typeId: 0 };
      const plain = fixedLayout([cls, text0, sep], [cls, text0, sep, sep, second, sep], [text0, second]);
      if (!booleanField(object, "trim_offsets", where, true)) return plain;
      return { ...plain, adjustOffsets: trimmer(booleanField(object, "add_prefix_space", where, true)) };
    }
    case "ByteLevel":
      if (!booleanField(object, "trim_offsets", where, true)) return plainPostProcessor;
      return { ...plainPostProcessor, adjustOffsets: trimmer(booleanField(object, "add_prefix_space", where, true)) };
    case "Sequence":
      return chain(sequenceStages(object, "processors", where, createPostProcessor), where);
    default:
      return fail(where, "type", type, "a post-processor (such as TemplateProcessing, BertProcessing, ByteLevel)");
  }
}

type SpecialItem = Extract<LayoutItem, { token: string }>;

function special(object: JsonObject, field: string, where: string): SpecialItem {
  const value = object[field];
  if (!Array.isArray(value) || typeof value[0] !== "string" || !Number.isSafeInteger(value[1]) || value[1] < 0) {
    fail(where, field, value, "a token and its id, [string, number],");
  }
  const [token, id] = value as [string, number];
  return { token, id, typeId: 0 };
}

function fixedLayout(
  single: readonly LayoutItem[],
  pair: readonly LayoutItem[],
  bare: readonly LayoutItem[] = [text0, text1],
): PostProcessor {
  const isText = (item: LayoutItem) => "sequence" in item;
  return {
    addedTokens: (isPair) => (isPair ? pair : single).filter((item) => !isText(item)).length,
    layout: (isPair, addSpecialTokens) => {
      if (addSpecialTokens) return isPair ? pair : single;
      return isPair ? bare : bare.slice(0, 1);
    },
  };
}

function templateProcessing(object: JsonObject, where: string): PostProcessor {
  const tokens = asObject(object.special_tokens ?? {}, `${where}.special_tokens`);
  const readTemplate = (field: string): LayoutItem[] => {
    return arrayField(object, field, where).flatMap((item, i): LayoutItem[] => {
      const at = `${where}.${field}[${i}]`;
      const piece = asObject(item, at);
      if (piece.Sequence !== undefined) {
        const sequence = asObject(piece.Sequence, `${at}.Sequence`);
        if (sequence.id !== "A" && sequence.id !== "B") fail(`${at}.Sequence`, "id", sequence.id, '"A" or "B"');
        return [{ sequence: sequence.id === "A" ? 0 : 1, typeId: wholeField(sequence, "type_id", `${at}.Sequence`) }];
      }
      const token = asObject(piece.SpecialToken, `${at}.SpecialToken`);
      const name = stringField(token, "id", `${at}.SpecialToken`);
      const typeId = wholeField(token, "type_id", `${at}.SpecialToken`);
      const entryWhere = `${where}.special_tokens[${JSON.stringify(name)}]`;
      const entry = asObject(tokens[name], entryWhere);
      const ids = arrayField(entry, "ids", entryWhere);
      const texts = arrayField(entry, "tokens", entryWhere);
      if (ids.length !== texts.length) fail(entryWhere, "tokens", texts, `an array of ${ids.length}, one for each id,`);
      return ids.map((id, k) => {
        if (!Number.isSafeInteger(id) || (id as number) < 0) fail(entryWhere, `ids[${k}]`, id, "an id");
        const text = texts[k];
        if (typeof text !== "string") fail(entryWhere, `tokens[${k}]`, text, "a string");
        return { token: text as string, id: id as number, typeId };
      });
    });
  };
  const single = readTemplate("single");
  // A template for one text only leaves pairs undefined; the default puts them behind each other.
  const pair = object.pair === undefined || object.pair === null ? [text0, text1] : readTemplate("pair");
  for (const [field, template, wanted] of [
    ["single", single, [0]],
    ["pair", pair, [0, 1]],
  ] as const) {
    for (const sequence of wanted) {
      const count = template.filter((item) => "sequence" in item && item.sequence === sequence).length;
      if (count === 0 || (field === "single" && template.some((item) => "sequence" in item && item.sequence === 1))) {
        throw new TokenizerFormatError(
          `${where}.${field} is ${describe(object[field])} that does not hold ${field === "single" ? "only sequence A" : "sequences A and B"}`,
        );
      }
    }
  }
  const bareOf = (template: readonly LayoutItem[]) => template.filter((item) => "sequence" in item);
  const bareSingle = bareOf(single);
  const barePair = bareOf(pair);
  return {
    addedTokens: (isPair) => (isPair ? pair.length - barePair.length : single.length - bareSingle.length),
    layout: (isPair, addSpecialTokens) => {
      if (addSpecialTokens) return isPair ? pair : single;
      return isPair ? barePair : bareSingle;
    },
  };
}

/** ByteLevel's `trim_offsets`: the offsets of a token leave out whitespace at its ends. */
function trimmer(addPrefixSpace: boolean): NonNullable<PostProcessor["adjustOffsets"]> {
  const isSpace = (unit: number) => unit === 0x120 || whitespace.has(unit);
  return (token, index, range) => {
    let leading = 0;
    while (leading < token.length && isSpace(token.charCodeAt(leading))) leading++;
    let trailing = 0;
    while (trailing < token.length && isSpace(token.charCodeAt(token.length - 1 - trailing))) trailing++;
    if (leading === 0 && trailing === 0) return range;
    let [start, end] = range;
    // One space at the start was put there; it is not part of the text, so there is nothing to leave out for it.
    if (leading === 1 && addPrefixSpace && (index === 0 || start === 0)) {
      leading = 0;
      if (trailing === token.length) return [start, start];
    }
    if (leading === token.length) return [end, end];
    start = Math.min(start + leading, end);
    if (trailing > 0 && end >= trailing) end = Math.max(end - trailing, start);
    return [start, end];
  };
}

/** Post-processors one after the other. One of them may add special tokens; all may change offsets. */
function chain(stages: readonly PostProcessor[], where: string): PostProcessor {
  if (stages.length === 0) return plainPostProcessor;
  const adjusters = stages.flatMap((stage) => (stage.adjustOffsets === undefined ? [] : [stage.adjustOffsets]));
  const laysOut = stages.filter((stage) => stage.addedTokens(false) > 0 || stage.addedTokens(true) > 0);
  if (laysOut.length > 1) {
    throw new TokenizerFormatError(`${where}.processors add special tokens ${laysOut.length} times; once was expected`);
  }
  const main = laysOut[0] ?? stages[stages.length - 1]!;
  const chained: PostProcessor = {
    addedTokens: (isPair) => main.addedTokens(isPair),
    layout: (isPair, addSpecialTokens) => main.layout(isPair, addSpecialTokens),
  };
  if (adjusters.length === 0) return chained;
  return {
    ...chained,
    adjustOffsets: (token, index, range) => adjusters.reduce((current, adjust) => adjust(token, index, current), range),
  };
}
