/**
 * The starts of all suffixes of `text` in lexicographic order, in linear time (SA-IS: Nong, Zhang and Chan 2009, "Linear
 * suffix array construction by almost pure induced-sorting"). `text` holds numbers from 0 to `largest`.
 */
export function suffixArray(text: Int32Array, largest: number): Int32Array {
  const n = text.length;
  const sorted = new Int32Array(n);
  if (n < 2) return sorted;
  // Whether a suffix is smaller than the next one ("S-type").
  const isSmall = new Uint8Array(n);
  for (let i = n - 2; i >= 0; i--) {
    isSmall[i] = text[i]! < text[i + 1]! || (text[i] === text[i + 1] && isSmall[i + 1] === 1) ? 1 : 0;
  }
  // Where the larger and the smaller suffixes of each first symbol begin in the order.
  const largeStarts = new Int32Array(largest + 2);
  const smallStarts = new Int32Array(largest + 2);
  for (let i = 0; i < n; i++) {
    if (isSmall[i]) largeStarts[text[i]! + 1]!++;
    else smallStarts[text[i]!]!++;
  }
  for (let c = 0; c <= largest; c++) {
    smallStarts[c]! += largeStarts[c]!;
    largeStarts[c + 1]! += smallStarts[c]!;
  }
  const next = new Int32Array(largest + 2);
  const induce = (leftmost: Int32Array) => {
    sorted.fill(-1);
    next.set(smallStarts);
    for (const start of leftmost) sorted[next[text[start]!]!++] = start;
    next.set(largeStarts);
    sorted[next[text[n - 1]!]!++] = n - 1;
    for (let i = 0; i < n; i++) {
      const before = sorted[i]! - 1;
      if (before >= 0 && !isSmall[before]) sorted[next[text[before]!]!++] = before;
    }
    next.set(largeStarts);
    for (let i = n - 1; i >= 0; i--) {
      const before = sorted[i]! - 1;
      if (before >= 0 && isSmall[before]) sorted[--next[text[before]! + 1]!] = before;
    }
  };

  // The leftmost small suffixes after larger ones decide the order of all.
  let count = 0;
  for (let i = 1; i < n; i++) if (isSmall[i] && !isSmall[i - 1]) count++;
  const leftmost = new Int32Array(count);
  const indexOf = new Int32Array(n).fill(-1);
  for (let i = 1, m = 0; i < n; i++) {
    if (isSmall[i] && !isSmall[i - 1]) {
      indexOf[i] = m;
      leftmost[m++] = i;
    }
  }
  induce(leftmost);
  if (count === 0) return sorted;

  const inOrder = new Int32Array(count);
  for (let i = 0, m = 0; i < n; i++) if (indexOf[sorted[i]!]! >= 0) inOrder[m++] = sorted[i]!;
  const names = new Int32Array(count);
  let name = 0;
  for (let m = 1; m < count; m++) {
    if (!sameSubstring(inOrder[m - 1]!, inOrder[m]!)) name++;
    names[indexOf[inOrder[m]!]!] = name;
  }
  const reduced = suffixArray(names, name);
  for (let m = 0; m < count; m++) inOrder[m] = leftmost[reduced[m]!]!;
  induce(inOrder);
  return sorted;

  function sameSubstring(a: number, b: number): boolean {
    const endOf = (start: number) => leftmost[indexOf[start]! + 1] ?? n;
    const length = endOf(a) - a;
    if (endOf(b) - b !== length || Math.max(a, b) + length >= n) return false;
    for (let i = 0; i <= length; i++) if (text[a + i] !== text[b + i]) return false;
    return true;
  }
}

/**
 * For each place of a suffix array, how many symbols its suffix has in common with the one before it (Kasai et al.
 * 2001), counted no further than the first 0, which ends a word.
 */
export function commonPrefixes(text: Int32Array, sorted: Int32Array): Int32Array {
  const n = text.length;
  const rank = new Int32Array(n);
  for (let i = 0; i < n; i++) rank[sorted[i]!] = i;
  const common = new Int32Array(n);
  let length = 0;
  for (let i = 0; i < n; i++) {
    const place = rank[i]!;
    if (place === 0) {
      length = 0;
      continue;
    }
    const other = sorted[place - 1]!;
    const most = n - Math.max(i, other);
    while (length < most && text[i + length] === text[other + length] && text[i + length] !== 0) length++;
    common[place] = length;
    if (length > 0) length--;
  }
  return common;
}
