/**
 * One socket on which many small files are stored: sent one behind the other, without waiting for the
 * answers, which come in the order of the files.
 */

import { subprotocols } from "../app/credentials.js";
import { deferred } from "../app/deferred.js";
import { socketUrl } from "../app/socket.js";
import { CONNECTING, Silence, SILENCE, STORING } from "./silence.js";
import { socketOpened } from "./upgrades.js";
import { Failure } from "./failure.js";
import { moment } from "./service.js";

const AT_ONCE = 256; // files that wait for their answers; the service reads on up to 512
const IN_FLIGHT = 8 * 1024 * 1024; // bytes of them
const BUFFERED = 1024 * 1024; // bytes that have not left the browser
const FOR_ALL = ["no_space", "not_permitted", "quota_exceeded", "too_many_files"]; // the next file would fail as well
const OF_THE_SOCKET = ["bad_message", "idle", "internal_error"]; // an error that tells why a Close frame follows

export class Many {
  opened = false;

  #supply;
  #socket;
  #silence;
  #sent = []; // files without an answer, in order
  #inFlight = 0; // bytes of them
  #failure = null; // one file's that is not its own: nothing more is sent, what was sent is answered first
  #error = null; // the message before the Close frame
  #opened = deferred();
  #over = deferred();
  #news = deferred();
  #closed = false;

  /** @param {string} path the handler's @param {import("./supply.js").Supply} supply what to send */
  constructor(path, supply) {
    this.#supply = supply;
    this.#socket = new WebSocket(socketUrl(path), subprotocols("upload.v1"));
    this.#socket.onopen = () => {
      this.opened = true;
      socketOpened();
      this.#opened.resolve();
    };
    this.#socket.onmessage = ({ data }) => this.#guard(() => this.#heard(JSON.parse(data)));
    this.#socket.onclose = (event) => this.#over.reject(this.#farewell(event));
    this.#silence = new Silence(
      () => this.#patience(),
      (failure) => this.#over.reject(failure),
    );
  }

  /**
   * Until all that is in the supply is sent and answered. Rejects with a Failure where that ends earlier;
   * what has no answer is back in the supply then.
   */
  async run() {
    try {
      await Promise.race([this.#over.promise, this.#work()]);
    } finally {
      this.#close();
      for (const file of this.#sent) file.lost();
      this.#supply.back(this.#sent);
    }
  }

  /** The supply was taken away: ends as soon as all that was sent is answered. */
  stop() {
    if (this.#sent.length === 0) this.#over.resolve();
  }

  /** Ends at once: with another socket it may go better. */
  abandon() {
    this.#over.reject(Failure.aborted());
  }

  async #work() {
    await this.#opened.promise;
    this.#silence.restart();
    while (await this.#sendNext());
    while (this.#sent.length) await this.#change();
    if (this.#failure) throw this.#failure;
  }

  /**
   * Sends the next file, as soon as there is room for it; false when there is none. It leaves the supply and joins
   * what is sent in one step: a file that waited between the two would be lost with the socket.
   */
  async #sendNext() {
    while (!this.#failure) {
      const file = await this.#supply.first();
      if (this.#closed) throw Failure.aborted();
      if (!file) return false;
      if (this.#fits(file)) {
        this.#begin(this.#supply.shift());
        return true;
      }
      await this.#change();
    }
    return false;
  }

  /** The first of all goes alone: its answer tells whether to expect that the others are stored already. */
  #fits(file) {
    if (this.#sent.length === 0) return true;
    if (this.#supply.expecting === null || this.#sent.length >= AT_ONCE) return false;
    return this.#socket.bufferedAmount <= BUFFERED && this.#inFlight + file.bytes.length <= IN_FLIGHT;
  }

  #begin(file) {
    if (this.#sent.length === 0) this.#silence.restart(); // nothing was owed before
    this.#sent.push(file);
    this.#inFlight += file.bytes.length;
    file.begin();
    const promises = { name: file.name, size: file.bytes.length, token: file.token };
    this.#say(JSON.stringify({ type: "create", ...promises, mtime: moment(file.file.lastModified) }));
    if (file.bytes.length) this.#say(file.bytes);
    this.#say(JSON.stringify({ type: "end", sha256: file.sha256 }));
  }

  /** What a lost socket does not take is sent again on the next. */
  #say(data) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  /** Until something was heard. An answer or an ack comes for whatever is in the way. */
  async #change() {
    this.#news = deferred();
    await this.#news.promise;
  }

  #heard(message) {
    this.#silence.restart();
    if (message.type === "ready") this.#ready();
    else if (message.type === "stored") this.#stored(message);
    else if (message.type === "error") this.#failed(message);
    this.#news.resolve();
  }

  #ready() {
    this.#sent[0].open = true;
  }

  #stored(receipt) {
    const file = this.#answered();
    file.answered(receipt);
    if (file.state === "queued") this.#supply.back([file]);
    this.#supply.expecting = file.already;
  }

  #failed(message) {
    if (!message.token && OF_THE_SOCKET.includes(message.code)) {
      this.#error = message;
      return;
    }
    const file = this.#answered();
    const failure = Failure.fromMessage(message);
    this.#supply.expecting ??= false;
    if (failure.transient || FOR_ALL.includes(failure.code)) {
      file.enqueue();
      this.#supply.add(file);
      this.#failure = failure;
    } else {
      file.fail(failure);
    }
  }

  /** The file that an answer is for. */
  #answered() {
    const file = this.#sent.shift();
    this.#inFlight -= file.bytes.length;
    return file;
  }

  #patience() {
    if (this.#socket.readyState === WebSocket.CONNECTING) return CONNECTING;
    if (this.#socket.readyState === WebSocket.OPEN && this.#sent.length === 0) return Infinity;
    return this.#socket.bufferedAmount === 0 && this.#sent.length ? STORING : SILENCE;
  }

  #farewell(event) {
    // A page is not told why an upgrade was refused.
    return this.opened ? Failure.fromClose(event, this.#error) : new Failure("unreachable", "", { transient: true });
  }

  #guard(work) {
    try {
      work();
    } catch (error) {
      this.#over.reject(error);
    }
  }

  #close() {
    this.#closed = true;
    this.#silence.close();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
