/** Notices that a socket has fallen silent while the service owes a word: a dead link tells nobody. */

import { Failure } from "./failure.js";

export const CONNECTING = 10_000; // milliseconds until a socket is open
export const SILENCE = 30_000; // milliseconds without a word
export const STORING = 120_000; // the same when all has arrived: to make much safe on a slow disk takes a while

export class Silence {
  #since = performance.now();
  #timer;

  /**
   * @param {() => number} patience milliseconds that the silence may last now; Infinity where nothing is owed
   * @param {(failure: Failure) => void} lost called when it has lasted longer
   */
  constructor(patience, lost) {
    this.#timer = setInterval(() => {
      if (performance.now() - this.#since < patience()) return;
      lost(new Failure("lost", "The service does not answer.", { transient: true }));
    }, CONNECTING / 5);
  }

  /** Something came, or something was asked: it counts from here. */
  restart() {
    this.#since = performance.now();
  }

  close() {
    clearInterval(this.#timer);
  }
}
