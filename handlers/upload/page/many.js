/**
 * One socket on which many small files are stored: sent one behind the other, without waiting for the
 * answers, which come in the order of the files.
 */

import { socketUrl } from "../app/socket.js";
import { deferred } from "./deferred.js";
import { CONNECTING, Silence, SILENCE, STORING } from "./silence.js";
import { Trouble } from "./trouble.js";

const AT_ONCE = 256; // files that wait for their answers; the service reads on up to 512
const IN_FLIGHT = 8 * 1024 * 1024; // bytes of them
const BUFFERED = 1024 * 1024; // bytes that have not left the browser
const OF_THE_SOCKET = ["bad_message", "idle", "internal_error"]; // an error that tells why a Close frame follows

export class Many {
  #supply;
  #socket;
  #silence;
  #sent = []; // files without an answer, in order
  #inFlight = 0; // bytes of them
  #resuming = null; // that of them of which `ready` has to say whether it is sent again
  #trouble = null; // one file's that may pass: nothing more is sent, what was sent is answered first
  #error = null; // the message before the Close frame
  #opened = deferred();
  #wasOpen = false;
  #over = deferred();
  #news = deferred();
  #closed = false;

  /** @param {string} path the handler's @param {import("./supply.js").Supply} supply what to send */
  constructor(path, supply) {
    this.#supply = supply;
    this.#socket = new WebSocket(socketUrl(path), "upload.v1");
    this.#socket.onopen = () => {
      this.#wasOpen = true;
      this.#opened.resolve();
    };
    this.#socket.onmessage = ({ data }) => this.#guard(() => this.#heard(JSON.parse(data)));
    this.#socket.onclose = (event) => this.#over.reject(this.#farewell(event));
    this.#silence = new Silence(
      () => this.#patience(),
      (trouble) => this.#over.reject(trouble),
    );
  }

  /**
   * Until all that is in the supply is sent and answered. Rejects with a Trouble where that ends earlier;
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

  async #work() {
    await this.#opened.promise;
    this.#silence.restart();
    for (let file = await this.#next(); file; file = await this.#next()) this.#begin(file);
    while (this.#sent.length) await this.#change();
    if (this.#trouble) throw this.#trouble;
  }

  /** The next file, as soon as there is room for it. */
  async #next() {
    while (!this.#trouble) {
      const file = await this.#supply.first();
      if (this.#closed) throw new Trouble("lost", "closed here", { passing: true });
      if (!file) return null;
      if (this.#fits(file)) return this.#supply.shift();
      await this.#change();
    }
    return null;
  }

  #fits(file) {
    if (this.#sent.length === 0) return true;
    if (this.#resuming || this.#sent.length >= AT_ONCE || this.#socket.bufferedAmount > BUFFERED) return false;
    return this.#inFlight + file.bytes.length <= IN_FLIGHT;
  }

  #begin(file) {
    if (this.#sent.length === 0) this.#silence.restart(); // nothing was owed before
    this.#sent.push(file);
    this.#inFlight += file.bytes.length;
    file.begin();
    if (file.token) {
      this.#resuming = file;
      this.#say({ type: "resume", token: file.token });
    } else {
      this.#say({ type: "create", name: file.name, size: file.bytes.length });
      this.#content(file);
    }
  }

  #content(file) {
    if (file.bytes.length) this.#socket.send(file.bytes);
    this.#say({ type: "end", sha256: file.sha256 });
  }

  #say(message) {
    this.#socket.send(JSON.stringify(message)); // on a socket that is lost the browser throws it away, as it should
  }

  /** Until something was heard. An answer or an ack comes for whatever is in the way. */
  async #change() {
    this.#news = deferred();
    await this.#news.promise;
  }

  #heard(message) {
    this.#silence.restart();
    if (message.type === "ready") this.#ready(this.#sent[0], message);
    else if (message.type === "stored") this.#answered().answered(message);
    else if (message.type === "error") this.#failed(message);
    this.#news.resolve();
  }

  #ready(file, { token }) {
    file.token = token;
    if (file !== this.#resuming) return;
    this.#resuming = null; // it is not stored: from its beginning, it is small
    this.#say({ type: "restart" });
    this.#content(file);
  }

  #failed(message) {
    if (!message.token && OF_THE_SOCKET.includes(message.code)) {
      this.#error = message;
      return;
    }
    const file = this.#answered();
    const trouble = Trouble.fromMessage(message);
    if (trouble.code === "unknown_upload") {
      file.token = null; // a crash of the service has undone it: for that it is a new file
      file.enqueue();
      this.#supply.back([file]);
    } else if (trouble.passing) {
      file.enqueue();
      this.#supply.add(file);
      this.#trouble = trouble;
    } else {
      file.fail(trouble);
    }
  }

  /** The file that an answer is for. */
  #answered() {
    const file = this.#sent.shift();
    if (file === this.#resuming) this.#resuming = null;
    this.#inFlight -= file.bytes.length;
    return file;
  }

  #patience() {
    if (this.#socket.readyState === WebSocket.OPEN && this.#sent.length === 0) return Infinity;
    return this.#socket.bufferedAmount === 0 && this.#sent.length ? STORING : SILENCE;
  }

  #farewell(event) {
    // A page is not told why an upgrade was refused.
    return this.#wasOpen ? Trouble.fromClose(event, this.#error) : new Trouble("unreachable", "", { passing: true });
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
