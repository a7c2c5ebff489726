/**
 * The small files of one choice, which share a socket: sent on as many sockets as it takes, one after the other,
 * until each file is stored, or has failed for itself. It knows nothing of the page, as `Upload` does not.
 */

import { Many } from "./many.js";
import { Pauses } from "./pauses.js";
import * as service from "./service.js";
import { SmallFile } from "./small-file.js";
import { Supply } from "./supply.js";
import { Trouble } from "./trouble.js";

export class Batch {
  /**
   * queued · connecting, sending: at work · waiting: to try again · stopping: for the last answers · at rest:
   * stored (every one), failed (some), cancelled (some, and none failed).
   */
  state = "queued";
  received = 0; // bytes that are stored
  trouble = null; // why it waits
  retryAt = 0; // when it waits: until this moment, in milliseconds of `Date.now()`
  counts = { queued: 0, sending: 0, stored: 0, failed: 0, cancelled: 0 }; // files in each state
  failures = new Set(); // files
  renamed = 0; // files stored under another name than their own …
  unsure = 0; // … of which it may be themselves that had taken theirs
  onchange = () => {};

  #path;
  #supply = new Supply([]);
  #many = null;
  #pauses = new Pauses();
  #forgetting = Promise.resolve();

  /**
   * @param {string} path the handler's
   * @param {import("./files.js").Named[]} found what has trouble has failed already
   */
  constructor(path, found) {
    this.#path = path;
    this.files = found.map((each) => new SmallFile(each, (file, before) => this.#moved(file, before)));
    for (const file of this.files) this.counts[file.state] += 1;
    this.failures = new Set(this.files.filter(({ state }) => state === "failed"));
    this.size = this.files.reduce((sum, { size }) => sum + size, 0);
    this.name = title(this.files);
    this.#supply = new Supply(this.files.filter(({ state }) => state === "queued"));
  }

  get resting() {
    return ["stored", "failed", "cancelled"].includes(this.state);
  }

  /** Works until it rests. */
  async run() {
    if (this.counts.queued === 0) this.#rest(); // none of them can be read
    while (!this.resting) await this.#attempt();
  }

  /** Do not wait any longer for the next attempt. */
  hurry() {
    this.#pauses.hurry();
  }

  /** Sends no more. What was sent already gets its answer, while the connection lasts. */
  stop() {
    if (this.resting) return;
    const idle = this.state === "queued"; // the queue leaves it out
    this.#become("stopping");
    for (const file of this.#left()) {
      if (file.unsure || file.token) file.fail(new Trouble("unanswered"));
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

  /** Begins anew with all that is not stored, as far as it can be read. */
  enqueue() {
    const again = this.files.filter(repeatable);
    for (const file of again) file.enqueue();
    this.#supply = new Supply(again);
    this.#become("queued");
  }

  async #attempt() {
    this.#become("connecting");
    this.#many = new Many(this.#path, this.#supply);
    try {
      await this.#many.run();
      this.#rest();
    } catch (error) {
      await this.#suffer(Trouble.from(error));
    } finally {
      this.#many = null;
    }
  }

  async #suffer(trouble) {
    if (this.#stopping) return this.#giveUp(new Trouble("unanswered"));
    if (!trouble.passing) return this.#giveUp(trouble);
    const over = this.#pauses.begin(trouble.after);
    Object.assign(this, { trouble, retryAt: this.#pauses.until });
    this.#become("waiting");
    await over;
    if (this.#stopping) this.#rest();
  }

  get #stopping() {
    return this.state === "stopping";
  }

  #giveUp(trouble) {
    for (const file of this.#left()) file.fail(trouble);
    this.#rest();
  }

  /** Takes what is not sent out of the supply. */
  #left() {
    return this.#supply.clear().filter(({ state }) => state === "queued");
  }

  #rest() {
    const { failed, cancelled } = this.counts;
    this.#become(failed ? "failed" : cancelled ? "cancelled" : "stored");
  }

  #moved(file, before) {
    this.counts[before] -= 1;
    this.counts[file.state] += 1;
    if (before === "failed") this.failures.delete(file);
    if (file.state === "failed") this.#failed(file);
    if (file.state === "stored") this.#stored(file);
    if (file.state === "sending" && !this.#stopping) this.#become("sending");
    else this.onchange();
  }

  #stored(file) {
    this.#pauses.progressed();
    this.received += file.size;
    if (!file.renamed) return;
    this.renamed += 1;
    if (file.unsure) this.unsure += 1;
  }

  /** What the service keeps of one that has failed is of no use: to try again is to begin anew. */
  #failed(file) {
    this.failures.add(file);
    const { code } = file.trouble;
    if (!file.token || ["superseded", "unanswered"].includes(code)) return; // another has it, or it may be stored
    const url = `${this.#path}/${file.token}`;
    file.token = null;
    // One at a time: a browser has few connections, and other uploads want them. What it fails at expires by itself.
    this.#forgetting = this.#forgetting.then(() => service.cancel(url)).catch(() => {});
  }

  #become(state) {
    this.state = state;
    if (state !== "waiting") this.trouble = null;
    this.onchange();
  }
}

const repeatable = ({ state, file }) => file !== null && ["failed", "cancelled"].includes(state);

/** The folder they all come from, or the first of what was chosen and how much else there is. */
function title(files) {
  const [first, ...others] = new Set(files.map(({ name }) => name.match(/^[^/]*\/?/)[0]));
  return others.length ? `${first} and ${others.length} more` : first;
}
