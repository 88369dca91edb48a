/** A growing list of ids. */
export class IdBuffer {
  ids: Int32Array;
  length = 0;

  constructor(capacity = 1024) {
    this.ids = new Int32Array(Math.max(16, capacity));
  }

  push(id: number): void {
    if (this.length === this.ids.length) this.reserve(1);
    this.ids[this.length++] = id;
  }

  /** Makes room for `count` more ids. */
  reserve(count: number): void {
    if (this.length + count <= this.ids.length) return;
    const wide = new Int32Array(Math.max(this.length + count, this.ids.length * 2));
    wide.set(this.ids.subarray(0, this.length));
    this.ids = wide;
  }

  /** The ids so far, in an array of their own. */
  toArray(): Int32Array {
    return this.ids.slice(0, this.length);
  }
}
