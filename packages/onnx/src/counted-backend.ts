import * as tf from "@tensorflow/tfjs";

/** What a backend keeps for one data id. */
export interface Counted {
  references: number;
}

/** A tfjs backend without kernels of its own: entries by data id, counted references, and nothing else. */
export abstract class CountedBackend<E extends Counted> extends tf.KernelBackend {
  protected readonly entries = new Map<object, E>();

  /** Called when the last reference to an entry is gone. */
  protected abstract released(entry: E): void;

  override disposeData(dataId: object, force = false): boolean {
    const entry = this.entries.get(dataId);
    if (!entry) return true;
    entry.references -= 1;
    if (!force && entry.references > 0) return false;
    this.entries.delete(dataId);
    this.released(entry);
    return true;
  }

  override refCount(dataId: object): number {
    return this.entries.get(dataId)?.references ?? 0;
  }

  override incRef(dataId: object): void {
    const entry = this.entries.get(dataId);
    if (entry) entry.references += 1;
  }

  override numDataIds(): number {
    return this.entries.size;
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override memory() {
    return { unreliable: false };
  }

  override timerAvailable(): boolean {
    return false;
  }

  override dispose(): void {
    for (const dataId of [...this.entries.keys()]) this.disposeData(dataId, true);
  }
}
