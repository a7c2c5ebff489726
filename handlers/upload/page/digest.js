/** The page's end of `digest-worker.js`: one file, and its digest at any offset. */

import { deferred } from "../app/deferred.js";
import { Failure } from "./failure.js";

const idle = []; // workers that have done their file: to start one takes longer than to hash a small file

export class Digest {
  #worker = idle.pop() ?? new Worker(new URL("./digest-worker.js", import.meta.url), { type: "module" });
  #asked = new Map(); // offset → {promise, resolve, reject}
  #pending = 0; // of those

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
   * @returns {Promise<string>} their SHA-256 in lower-case hex; rejects with a Failure when they cannot be read
   */
  at(offset) {
    if (!this.#asked.has(offset)) {
      this.#asked.set(offset, deferred());
      this.#pending += 1;
      this.#worker.postMessage({ offset });
    }
    return this.#asked.get(offset).promise;
  }

  /** Gives the worker back; what was asked and not answered is refused. */
  close() {
    if (this.#pending === 0 && this.#worker) {
      idle.push(this.#worker);
    } else {
      this.#worker?.terminate();
      this.#fail("closed");
    }
    this.#worker = null;
  }

  #heard({ hashed, offset, digest, error }) {
    if (hashed !== undefined) {
      this.hashed = Math.max(this.hashed, hashed);
      this.onprogress();
      return;
    }
    this.#pending -= 1;
    if (error) this.#asked.get(offset).reject(new Failure("unreadable", error));
    else this.#asked.get(offset).resolve(digest);
  }

  #fail(detail) {
    for (const { reject } of this.#asked.values()) reject(new Failure("unreadable", detail));
  }
}
