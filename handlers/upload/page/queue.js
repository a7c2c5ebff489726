/** Lets a few uploads run at once, the others in the order they came. */

export class Queue {
  #most;
  #waiting = [];
  #running = 0;

  /** @param {number} most how many may run at once */
  constructor(most) {
    this.#most = most;
  }

  /** @param {import("./upload.js").Upload} upload one that is queued; one that rests before its turn is left out */
  add(upload) {
    this.#waiting.push(upload);
    this.#next();
  }

  #next() {
    while (this.#running < this.#most && this.#waiting.length) {
      const upload = this.#waiting.shift();
      if (upload.state === "queued") this.#run(upload);
    }
  }

  async #run(upload) {
    this.#running += 1;
    try {
      await upload.run();
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}
