/** Turns ids into text as they come. A character shows once all of its bytes are there. */
export interface DecodeStream {
  /** Takes the next id or ids and returns the text that is now complete, often "". */
  push(ids: number | Iterable<number>): string;
  /** Returns what is left; bytes that never became a character show as U+FFFD. The stream may then be used again. */
  end(): string;
}

/** For decoders that join bytes and nothing else. */
export function byteDecodeStream(bytesOf: (id: number) => Uint8Array): DecodeStream {
  let decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push(ids) {
      let text = "";
      for (const id of typeof ids === "number" ? [ids] : ids) text += decoder.decode(bytesOf(id), { stream: true });
      return text;
    },
    end() {
      const text = decoder.decode();
      decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      return text;
    },
  };
}

/** Ids that may wait for the rest of a character: four bytes, and tokens between that decode to nothing. */
const mostWaiting = 16;

/**
 * For any decoder: decodes a window that starts with the tokens shown last, because what a token becomes may depend on
 * the one before it, and shows what the new tokens add.
 */
export function windowDecodeStream(
  decode: (ids: readonly number[]) => string,
  isSkipped: (id: number) => boolean,
): DecodeStream {
  let shown: number[] = [];
  let waiting: number[] = [];
  const take = (force: boolean): string => {
    if (waiting.length === 0) return "";
    const before = decode(shown);
    const all = decode([...shown, ...waiting]);
    if (all.endsWith("\ufffd") && waiting.length < mostWaiting && !force) return "";
    if (all.length <= before.length && !force) return "";
    shown = waiting;
    waiting = [];
    return all.slice(before.length);
  };
  return {
    push(ids) {
      let text = "";
      for (const id of typeof ids === "number" ? [ids] : ids) {
        // What is left out of the text must not push the token before it out of the window.
        if (isSkipped(id)) continue;
        waiting.push(id);
        text += take(false);
      }
      return text;
    },
    end() {
      const text = take(true);
      shown = [];
      return text;
    },
  };
}
