/**
 * One file on its way: created, sent on as many sockets as it takes, and stored; or refused, cancelled,
 * taken over elsewhere. It knows nothing of the page: `onchange` is called when something has happened.
 */

import { bytes } from "../app/format.js";
import { shown } from "../app/names.js";
import { Digest } from "./digest.js";
import { Pauses } from "./pauses.js";
import * as service from "./service.js";
import { Requests } from "./requests.js";
import { Session } from "./session.js";
import { freshToken } from "./token.js";
import { plain, socketFailed } from "./upgrades.js";
import { Failure } from "./failure.js";

/**
 * parked: no file yet · queued · connecting, checking, sending, finishing: at work · waiting: to try again ·
 * stored, failed, taken, cancelled: at rest · asking: at rest until a person says what to do with another file.
 * @typedef {"parked" | "queued" | "connecting" | "checking" | "sending" | "finishing" | "waiting" | "stored" |
 *   "failed" | "taken" | "cancelled" | "asking"} State
 */

const RESTING = ["parked", "stored", "failed", "taken", "cancelled", "asking"];

export class Upload {
  /** @type {State} */
  state;
  since = Date.now(); // when it came to this state
  received = 0; // bytes the service has
  durable = 0; // bytes it cannot lose any more
  receipt = null; // {name, size, sha256}
  already = false; // it was stored before this page sent it
  failure = null; // why it waits, asks or has failed
  retryAt = 0; // when it waits: until this moment, in milliseconds of `Date.now()`
  onchange = () => {};

  #path;
  #known; // whether its file is known to be the right one: it was begun with, or a person has said so
  #unwanted = null; // the url of what is to be cancelled before it begins anew
  #stop = new AbortController(); // of the requests of this attempt
  #session = null;
  #digest = null;
  #pauses = new Pauses();

  /**
   * @param {string} path the handler's
   * @param {{file?: File, name: string, size: number | null, modified?: number, token?: string, url?: string,
   *   expires?: string}} facts with a file and a token it is a new upload, with a url an older one that waits for its
   *   file; times as the service says them
   */
  constructor(path, { file = null, name, size, modified = 0, token = null, url = null, expires = null }) {
    this.#path = path;
    this.#known = file !== null;
    Object.assign(this, { file, name, size, modified, token, url, expires, chosen: name });
    this.state = file ? "queued" : "parked";
  }

  get resting() {
    return RESTING.includes(this.state);
  }

  /** Whether a file of this name is, as far as names tell, the one it was begun with. */
  named(name) {
    return base(name) === base(this.name);
  }

  /**
   * A file to go on with: if it is another one, a person is asked before a byte is sent or thrown away.
   * @param {import("./files.js").Named} found
   */
  offer({ file, name, size }) {
    Object.assign(this, { file, chosen: name });
    this.#known = this.size === size && this.modified === file.lastModified;
    if (this.size === null || this.size === size) return this.enqueue();
    const detail = `It has ${bytes(size)}, and this upload wants ${bytes(this.size)}.`;
    return this.#ask(new Failure("other_file", detail));
  }

  /** The answer to a question: leave what has arrived as it is, until its own file is there. */
  keep() {
    this.file = null;
    this.#become("parked");
  }

  /** Another answer: the file is the right one. */
  insist() {
    this.#known = true;
    this.enqueue();
  }

  /** Another answer: cancel what has arrived, and send this file under the same name. */
  anew() {
    this.#unwanted = this.url;
    Object.assign(this, { size: this.file.size, modified: this.file.lastModified });
    this.repeat();
  }

  /** Sends it although it is stored, or was begun. */
  repeat() {
    this.#renew();
    this.insist();
  }

  /** It is to be sent, or sent again, as soon as its turn comes. */
  enqueue() {
    this.#become("queued");
  }

  /** Works until it rests. */
  async run() {
    try {
      this.#digest = new Digest(this.file);
      while (!this.resting) await this.#attempt();
    } catch (error) {
      await this.#handle(Failure.from(error)); // no attempt was possible
    } finally {
      this.#digest?.close();
      this.#digest = null;
    }
  }

  /** Make the next attempt now: do not wait for it, nor for a service that does not answer. */
  hurry() {
    if (this.state === "connecting") this.#leave();
    this.#pauses.hurry();
  }

  /** What the service says of it. @param {Awaited<ReturnType<typeof service.ask>>} facts */
  told({ state, name, size, offset, sha256, expires }) {
    Object.assign(this, { expires, size: size ?? this.size });
    if (state === "stored") this.#stored({ name, size, sha256 });
    else this.#progress({ received: offset });
  }

  /** It rests as before, and this is why. @param {Failure} failure */
  refuse(failure) {
    this.failure = failure;
    this.onchange();
  }

  /** Gives it up: the service forgets its bytes. */
  async cancel() {
    if (this.state === "stored") return;
    this.#become("cancelled");
    this.#leave();
    this.#digest?.close();
    this.#pauses.hurry();
    try {
      for (const url of [this.#unwanted, this.url]) if (url) await service.cancel(url);
    } catch (failure) {
      if (failure.code === "already_stored") this.told(await service.ask(this.url));
      else this.refuse(failure);
    }
  }

  #leave() {
    this.#stop.abort();
    this.#session?.close();
  }

  async #attempt() {
    this.#stop = new AbortController();
    try {
      await this.#reach();
      if (this.state !== "stored") this.#stored(await this.#converse());
    } catch (error) {
      if (this.resting) return; // cancelled meanwhile
      await this.#handle(Failure.from(error));
    }
  }

  /** Brings it to where a socket can be opened: a refused upgrade would not tell a page why. */
  async #reach() {
    this.#become("connecting");
    await this.file.slice(0, 1).arrayBuffer(); // one that has changed since it was chosen cannot be read any more
    await this.#discard();
    if (this.url) this.told(await service.ask(this.url, this.#stop.signal));
    else await this.#create();
    if (this.state === "stored" || this.received === 0) return;
    this.#become("checking");
    // With the bytes hashed beforehand the socket does not stand idle while that is done.
    await this.#digest.at(Math.min(this.received, this.file.size));
  }

  /** Safe to repeat: what was begun or stored by this token before is found again. */
  async #create() {
    this.token ??= freshToken();
    const facts = await service.create(this.#path, this, this.#stop.signal);
    this.url = facts.url ?? `${this.#path}/${this.token}`;
    if (facts.state === "stored") await this.#recognize(facts);
    this.told(facts);
  }

  /** What is stored is this file only if its digest says so, although name, size and time are the same. */
  async #recognize({ size, sha256 }) {
    this.#progress({ received: size, durable: size, doing: "checking" });
    this.already = (await this.#digest.at(this.file.size)) === sha256;
    if (this.already) return;
    this.#renew();
    throw Failure.aborted();
  }

  /** The next attempt creates a new upload. */
  #renew() {
    Object.assign(this, { token: freshToken(), url: null, received: 0, durable: 0, receipt: null, already: false });
  }

  async #discard() {
    if (this.#unwanted) await service.cancel(this.#unwanted, this.#stop.signal);
    this.#unwanted = null;
  }

  async #converse() {
    if (this.#stop.signal.aborted) throw Failure.aborted();
    const { url, file } = this;
    const judge = (same) => this.#judge(same);
    const Way = plain() ? Requests : Session;
    const session = (this.#session = new Way(url, file, this.#digest, judge, (progress) => this.#progress(progress)));
    try {
      return await session.receipt();
    } catch (failure) {
      if (session.opened === false && failure.code === "lost") await socketFailed(this.#path);
      throw failure;
    } finally {
      this.#session = null;
    }
  }

  /** Throws where the file may be another one than that whose beginning the service has. */
  #judge(same) {
    const { file, chosen } = this;
    if (same === false) throw new Failure("other_file", "It does not begin with the bytes that have arrived.");
    if (!this.#known && !(same && this.named(chosen))) throw new Failure("perhaps_other", doubt(same && this.received, chosen));
    this.#known = true;
    Object.assign(this, { size: file.size, modified: file.lastModified });
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

  async #handle(failure) {
    if (failure.code === "aborted") return undefined; // and so the next attempt begins at once
    if (["other_file", "perhaps_other"].includes(failure.code)) return this.#ask(failure);
    if (failure.transient) return this.#pause(failure);
    this.failure = failure;
    if (["unknown_upload", "cancelled", "expired"].includes(failure.code)) this.url = null;
    if (failure.code === "token_conflict") this.#renew();
    return this.#become(failure.code === "superseded" ? "taken" : "failed");
  }

  #ask(failure) {
    this.failure = failure;
    this.#become("asking");
  }

  async #pause(failure) {
    const over = this.#pauses.begin(failure);
    Object.assign(this, { failure: this.#pauses.failure, retryAt: this.#pauses.until });
    this.#become("waiting");
    await over;
  }

  #become(state) {
    if (this.state !== state) Object.assign(this, { state, since: Date.now() });
    if (!["waiting", "failed", "taken", "asking"].includes(state)) this.failure = null;
    this.onchange();
  }
}

const base = (name) => name.slice(name.lastIndexOf("/") + 1).normalize("NFC");

function doubt(same, name) {
  if (same === null) return `Whether “${shown(name)}” begins with the bytes that have arrived cannot be told yet.`;
  return `Its name is “${shown(name)}”${same ? ", although it begins with the bytes that have arrived" : ""}.`;
}
