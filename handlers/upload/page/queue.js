/** Lets a few run at once, the others in the order they came. */

export class Queue {
  #most;
  #waiting = [];
  #running = 0;

  /** @param {number} most how many may run at once */
  constructor(most) {
    this.#most = most;
  }

  /** @param {{state: string, run: () => Promise<void>}} work that is queued; what rests before its turn is left out */
  add(work) {
    this.#waiting.push(work);
    this.#next();
  }

  #next() {
    while (this.#running < this.#most && this.#waiting.length) {
      const work = this.#waiting.shift();
      if (work.state === "queued") this.#run(work);
    }
  }

  async #run(work) {
    this.#running += 1;
    try {
      await work.run();
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}
