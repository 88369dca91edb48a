/** Seconds that training took, and its speed. */
export class TrainingClock {
  readonly #start = performance.now();
  #ticks = 0;
  #first = 0;
  #apart = 0;
  #last = this.#start;

  /** Call after each step. */
  tick(): void {
    this.#last = performance.now() - this.#apart;
    if (this.#ticks === 0) this.#first = this.#last;
    this.#ticks += 1;
  }

  /** Does something that does not count. */
  async apart<T>(work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await work();
    } finally {
      this.#apart += performance.now() - begin;
    }
  }

  get seconds(): number {
    return (this.#last - this.#start) / 1000;
  }

  /** Without the first step, which compiles. */
  get stepsPerSecond(): number {
    return this.#ticks > 1 ? (1000 * (this.#ticks - 1)) / (this.#last - this.#first) : 0;
  }
}
