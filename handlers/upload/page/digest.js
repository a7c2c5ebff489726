/** The page's end of `digest-worker.js`: one file, and its digest at any offset. */

import { Trouble } from "./trouble.js";

export class Digest {
  #worker = new Worker(new URL("./digest-worker.js", import.meta.url), { type: "module" });
  #asked = new Map(); // offset → {promise, resolve, reject}

  /** How many bytes from the beginning have been hashed. */
  hashed = 0;
  /** Called when `hashed` has grown. */
  onprogress = () => {};

  /** @param {File} file */
  constructor(file) {
    this.#worker.onmessage = ({ data }) => this.#heard(data);
    this.#worker.onerror = () => this.#fail("the digest could not be computed in this browser");
    this.#worker.postMessage({ file });
  }

  /**
   * @param {number} offset bytes from the beginning
   * @returns {Promise<string>} their SHA-256 in lower-case hex; rejects with a Trouble when they cannot be read
   */
  at(offset) {
    if (!this.#asked.has(offset)) {
      this.#asked.set(offset, Promise.withResolvers());
      this.#worker.postMessage({ offset });
    }
    return this.#asked.get(offset).promise;
  }

  close() {
    this.#worker.terminate();
    this.#fail("closed");
  }

  #heard({ hashed, offset, digest, error }) {
    if (hashed !== undefined) {
      this.hashed = Math.max(this.hashed, hashed);
      this.onprogress();
    } else if (error) {
      this.#asked.get(offset).reject(new Trouble("unreadable", error));
    } else {
      this.#asked.get(offset).resolve(digest);
    }
  }

  #fail(detail) {
    for (const { reject } of this.#asked.values()) reject(new Trouble("unreadable", detail));
  }
}
