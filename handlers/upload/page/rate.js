/** How fast bytes arrive, over the last seconds. */

const SPAN = 5000; // milliseconds

export class Rate {
  #samples = []; // {at, bytes}, oldest first

  /** @param {number} bytes received so far; fewer than before begin anew */
  note(bytes) {
    const at = performance.now();
    if (bytes < (this.#last?.bytes ?? 0)) this.#samples = [];
    this.#samples.push({ at, bytes });
    // One older than the span stays: the speed is that since then.
    while (this.#samples.length > 2 && at - this.#samples[1].at > SPAN) this.#samples.shift();
  }

  get #last() {
    return this.#samples[this.#samples.length - 1];
  }

  reset() {
    this.#samples = [];
  }

  /** @returns {number | undefined} bytes a second, once there is enough to tell */
  get perSecond() {
    const [first, last] = [this.#samples[0], this.#last];
    if (!first || last.at - first.at < 500) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
  }
}
