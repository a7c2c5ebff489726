/**
 * The small files of one choice, which share a socket: sent on as many sockets as it takes, one after the other,
 * until each file is stored, or has failed for itself. It knows nothing of the page, as `Upload` does not.
 */

import { number } from "../app/format.js";
import { Many } from "./many.js";
import { ManyRequests } from "./requests.js";
import { Pauses } from "./pauses.js";
import * as service from "./service.js";
import { SmallFile } from "./small-file.js";
import { Supply } from "./supply.js";
import { plain, socketFailed } from "./upgrades.js";
import { Failure } from "./failure.js";

export class Batch {
  /**
   * queued · connecting, sending: at work · waiting: to try again · stopping: for the last answers · at rest:
   * stored (every one), failed (some), cancelled (some, and none failed), paused (for a person to do something).
   */
  state = "queued";
  since = Date.now(); // when it came to this state
  received = 0; // bytes that are stored
  failure = null; // why it waits, or is paused
  retryAt = 0; // when it waits: until this moment, in milliseconds of `Date.now()`
  counts = { queued: 0, sending: 0, stored: 0, failed: 0, cancelled: 0 }; // files in each state
  failures = new Set(); // files
  onchange = () => {};

  #path;
  #supply;
  #many = null;
  #pauses = new Pauses();
  #forgetting = Promise.resolve();

  /**
   * @param {string} path the handler's
   * @param {import("./files.js").Named[]} found files with a failure have failed already
   */
  constructor(path, found) {
    this.#path = path;
    this.files = found.map((each) => new SmallFile(each, (file, before) => this.#moved(file, before)));
    for (const file of this.files) this.counts[file.state] += 1;
    this.failures = new Set(this.files.filter(({ state }) => state === "failed"));
    this.size = this.files.reduce((sum, { size }) => sum + size, 0);
    this.name = title(this.files);
    this.#supply = new Supply(path, this.files.filter(({ state }) => state === "queued"));
  }

  get resting() {
    return ["stored", "failed", "cancelled", "paused"].includes(this.state);
  }

  /** How many files were stored under another name than their own. */
  get renamed() {
    return this.files.filter(({ renamed }) => renamed).length;
  }

  /** How many files were stored before this page sent them. */
  get already() {
    return this.files.filter(({ already }) => already).length;
  }

  /** Works until it rests. */
  async run() {
    if (this.counts.queued === 0) this.#rest(); // none of them can be read
    while (!this.resting) await this.#attempt();
  }

  /** Make the next attempt now: do not wait for it, nor for a service that does not answer. */
  hurry() {
    if (this.state === "connecting") this.#many?.abandon();
    this.#pauses.hurry();
  }

  /** Sends no more. What was sent already gets its answer, while the connection lasts. */
  stop() {
    const idle = ["queued", "paused"].includes(this.state); // the queue leaves it out
    if (this.resting && !idle) return;
    this.#become("stopping");
    for (const file of this.#left()) {
      if (file.unanswered) file.fail(new Failure("unanswered"));
      else file.cancel();
    }
    this.#many?.stop();
    this.#pauses.hurry();
    if (idle) this.#rest();
  }

  /** Whether there is anything to try again. */
  get repeatable() {
    return this.resting && this.files.some(repeatable);
  }

  /** Goes on with all that is not stored, as far as it can be read. */
  enqueue() {
    for (const file of this.files.filter(repeatable)) file.enqueue();
    this.#supply = new Supply(
      this.#path,
      this.files.filter(({ state }) => state === "queued"),
    );
    this.#become("queued");
  }

  /** Sends once more what was stored before. */
  repeat() {
    for (const file of this.files.filter(({ already }) => already)) file.repeat();
    this.enqueue();
  }

  async #attempt() {
    this.#become("connecting");
    try {
      this.#many = new (plain() ? ManyRequests : Many)(this.#path, this.#supply);
      await this.#many.run();
      this.#rest();
    } catch (error) {
      if (this.#many?.opened === false) await socketFailed(this.#path);
      await this.#handle(Failure.from(error));
    } finally {
      this.#many = null;
    }
  }

  async #handle(failure) {
    if (this.#stopping) return this.#giveUp();
    if (failure.code === "aborted") return undefined; // and so the next attempt begins at once
    if (!failure.transient) return this.#pause(failure);
    const over = this.#pauses.begin(failure);
    Object.assign(this, { failure: this.#pauses.failure, retryAt: this.#pauses.until });
    this.#become("waiting");
    await over;
    return this.#stopping && this.#rest();
  }

  get #stopping() {
    return this.state === "stopping";
  }

  /** All that is left would fail as this one did: it is said once, and nothing is tried until a person says so. */
  #pause(failure) {
    this.failure = failure;
    this.#become("paused");
  }

  #giveUp() {
    for (const file of this.#left()) file.fail(new Failure("unanswered"));
    this.#rest();
  }

  /** Takes what is not sent out of the supply. */
  #left() {
    return this.#supply.clear().filter(({ state }) => state === "queued");
  }

  /** Every file must have come to its end; one that has not is a fault of this page, and is not passed over. */
  #rest() {
    for (const file of this.files) {
      if (["queued", "sending"].includes(file.state)) file.fail(new Failure("unaccounted"));
    }
    const { failed, cancelled } = this.counts;
    this.#become(failed ? "failed" : cancelled ? "cancelled" : "stored");
  }

  #moved(file, before) {
    this.counts[before] -= 1;
    this.counts[file.state] += 1;
    if (before === "failed") this.failures.delete(file);
    if (before === "stored") this.received -= file.size;
    if (file.state === "failed") this.#failed(file);
    if (file.state === "stored") this.#stored(file);
    if (file.state === "sending" && !this.#stopping) this.#become("sending");
    else this.onchange();
  }

  #stored(file) {
    this.#pauses.progressed();
    this.received += file.size;
  }

  /** What the service keeps of one that has failed is of no use: to try again is to begin anew. */
  #failed(file) {
    this.failures.add(file);
    if (!file.open || ["superseded", "unanswered"].includes(file.failure.code)) return; // another has it, or it may be stored
    file.open = false;
    const url = `${this.#path}/${file.token}`;
    // One at a time: a browser has few connections, and other uploads want them. What it fails at expires by itself.
    this.#forgetting = this.#forgetting.then(() => service.cancel(url)).catch(() => {});
  }

  #become(state) {
    if (this.state !== state) Object.assign(this, { state, since: Date.now() });
    if (!["waiting", "paused"].includes(state)) this.failure = null;
    this.onchange();
  }
}

const repeatable = ({ state, file }) => file !== null && ["failed", "cancelled"].includes(state);

/** The folder they all come from, or the first of what was chosen and how much else there is. */
function title(files) {
  const [first, ...others] = new Set(files.map(({ name }) => name.match(/^[^/]*\/?/)[0]));
  return others.length ? `${first} and ${number(others.length)} more` : first;
}
