/** The pauses between attempts: each longer than the one before, until there is progress again. */

const FIRST = 0.5; // seconds before the first new attempt; doubled for each one after it
const LONGEST = 30;

export class Pauses {
  #inARow = 0;
  #hurry = () => {};

  /** Why there is a pause. That a service restarts tells more than that it cannot be reached meanwhile. */
  failure = null;
  /** When the pause ends by itself, in milliseconds of `Date.now()`. */
  until = 0;

  /** There was progress: the next pause is a short one. */
  progressed() {
    this.failure = null;
    this.#inARow = 0;
  }

  /**
   * @param {import("./failure.js").Failure} failure why; `after` it are the seconds that the service has asked for
   * @returns {Promise<void>} the end of the pause; `failure` and `until` are set when this returns
   */
  begin(failure) {
    const known = failure.code === "unreachable" && ["restarting", "draining"].includes(this.failure?.code);
    if (!known) this.failure = failure;
    const most = Math.min(LONGEST, FIRST * 2 ** this.#inARow);
    this.#inARow += 1;
    // Jitter: a thousand pages that lost the service together must not come back together.
    const milliseconds = 1000 * Math.max(failure.after, most * (0.5 + Math.random() / 2));
    this.until = Date.now() + milliseconds;
    return new Promise((resolve) => {
      this.#hurry = resolve;
      setTimeout(resolve, milliseconds);
    });
  }

  /** Ends the pause now, if there is one. */
  hurry() {
    this.#hurry();
  }
}
