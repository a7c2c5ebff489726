/**
 * One file on its way: created, sent on as many sockets as it takes, and stored; or refused, cancelled,
 * taken over elsewhere. It knows nothing of the page: `onchange` is called when something has happened.
 */

import { Digest } from "./digest.js";
import { Pauses } from "./pauses.js";
import * as service from "./service.js";
import { Session } from "./session.js";
import { Trouble } from "./trouble.js";

/**
 * parked: no file yet · queued · connecting, checking, sending, finishing: at work · waiting: to try again ·
 * stored, failed, taken, cancelled: at rest.
 * @typedef {"parked" | "queued" | "connecting" | "checking" | "sending" | "finishing" | "waiting" | "stored" |
 *   "failed" | "taken" | "cancelled"} State
 */

export class Upload {
  /** @type {State} */
  state;
  received = 0; // bytes the service has
  durable = 0; // bytes it cannot lose any more
  receipt = null; // {name, size, sha256}
  trouble = null; // why it waits or has failed
  retryAt = 0; // when it waits: until this moment, in milliseconds of `Date.now()`
  onchange = () => {};

  #path;
  #stop = new AbortController();
  #session = null;
  #digest = null;
  #pauses = new Pauses();

  /**
   * @param {string} path the handler's
   * @param {{file?: File, name: string, size: number | null, modified?: number, url?: string, expires?: string}} facts
   *   with a file it is a new upload, with a url an older one that waits for its file; times as the service says them
   */
  constructor(path, { file = null, name, size, modified = 0, url = null, expires = null }) {
    this.#path = path;
    Object.assign(this, { file, name, size, modified, url, expires });
    this.state = file ? "queued" : "parked";
  }

  get resting() {
    return ["parked", "stored", "failed", "taken", "cancelled"].includes(this.state);
  }

  /** The file to go on with, or to try again with. @param {File} file */
  enqueue(file = this.file) {
    Object.assign(this, { file, size: file.size, modified: file.lastModified, trouble: null });
    this.#stop = new AbortController();
    this.#become("queued");
  }

  /** Works until it rests. */
  async run() {
    this.#digest = new Digest(this.file);
    try {
      while (!this.resting) await this.#attempt();
    } finally {
      this.#digest.close();
      this.#digest = null;
    }
  }

  /** Do not wait any longer for the next attempt. */
  hurry() {
    this.#pauses.hurry();
  }

  /** What the service says of it. @param {Awaited<ReturnType<typeof service.ask>>} facts */
  told({ state, name, size, offset, sha256, expires }) {
    Object.assign(this, { expires, size: size ?? this.size });
    if (state === "stored") this.#stored({ name, size, sha256 });
    else this.#progress({ received: offset });
  }

  /** It rests as before, and this is why. @param {Trouble} trouble */
  refuse(trouble) {
    this.trouble = trouble;
    this.onchange();
  }

  /** Gives it up: the service forgets its bytes. */
  async cancel() {
    if (this.state === "stored") return;
    this.#become("cancelled");
    this.#stop.abort();
    this.#session?.close();
    this.#digest?.close();
    this.#pauses.hurry();
    if (!this.url) return;
    try {
      await service.cancel(this.url);
    } catch (trouble) {
      if (trouble.code === "already_stored") this.told(await service.ask(this.url));
      else if (trouble.code !== "unknown_upload") this.refuse(trouble);
    }
  }

  async #attempt() {
    try {
      await this.#reach();
      if (this.state !== "stored") this.#stored(await this.#converse());
    } catch (error) {
      if (this.resting) return; // cancelled meanwhile
      await this.#suffer(Trouble.from(error));
    }
  }

  /** Brings it to where a socket can be opened: a refused upgrade would not tell a page why. */
  async #reach() {
    this.#become("connecting");
    if (!this.url) {
      const created = await service.create(this.#path, this, this.#stop.signal);
      Object.assign(this, { url: created.url, expires: created.expires });
    } else {
      this.told(await service.ask(this.url, this.#stop.signal));
      if (this.state === "stored" || this.received === 0) return;
      this.#become("checking");
      // With the bytes hashed beforehand the socket does not stand idle while that is done.
      await this.#digest.at(Math.min(this.received, this.file.size));
    }
    this.#stop.signal.throwIfAborted();
  }

  async #converse() {
    this.#session = new Session(this.url, this.file, this.#digest, (progress) => this.#progress(progress));
    try {
      return await this.#session.receipt();
    } finally {
      this.#session = null;
    }
  }

  #progress({ received = this.received, durable = this.durable, doing = this.state }) {
    if (received > this.received) this.#pauses.progressed();
    Object.assign(this, { received, durable: Math.min(durable, received) });
    this.#become(doing);
  }

  #stored(receipt) {
    Object.assign(this, { receipt, received: receipt.size, durable: receipt.size, size: receipt.size });
    this.#become("stored");
  }

  async #suffer(trouble) {
    this.trouble = trouble;
    if (trouble.passing) return this.#pause(trouble.after);
    if (["unknown_upload", "cancelled", "expired"].includes(trouble.code)) this.url = null;
    return this.#become(trouble.code === "superseded" ? "taken" : "failed");
  }

  async #pause(least) {
    const over = this.#pauses.begin(least);
    this.retryAt = this.#pauses.until;
    this.#become("waiting");
    await over;
  }

  #become(state) {
    this.state = state;
    if (!["waiting", "failed", "taken"].includes(state)) this.trouble = null;
    this.onchange();
  }
}
