/**
 * One socket on an upload: from its opening to the receipt, or to a Failure. Only the service's offset is
 * believed; the page may not run ahead of it by more than the window.
 */

import { deferred } from "../app/deferred.js";
import { socketUrl } from "../app/socket.js";
import { CONNECTING, Silence, SILENCE, STORING } from "./silence.js";
import { socketOpened } from "./upgrades.js";
import { Failure } from "./failure.js";

const PIECE = 4 * 1024 * 1024; // bytes of a message; the browser reads it from the file when it sends it
const AHEAD = 256 * 1024 * 1024; // bytes sent and not yet hashed: `end` should not have to wait for long

export class Session {
  opened = false;
  #file;
  #digest;
  #judge;
  #report;
  #socket;
  #outcome = deferred();
  #silence;
  #owed = true; // the service has to say something: ready, an ack, the receipt
  #ended = false; // `end` was said
  #window = 0; // of `ready`, once the bytes before `sent` are known to be ours; 0 when nothing may be sent
  #sent = 0;
  #acked = 0;
  #pumping = false;
  #error = null; // the error message that came before the Close frame

  /**
   * @param {string} url the upload's path
   * @param {File} file
   * @param {import("./digest.js").Digest} digest of that file
   * @param {(same: boolean | null) => void} judge called before a byte is sent, with whether the file begins with the
   *   bytes that the service has, or null where that cannot be told; it throws where the file is not to be sent
   * @param {(progress: {received?: number, durable?: number, doing?: string}) => void} report bytes, and what is done
   */
  constructor(url, file, digest, judge, report) {
    this.#file = file;
    this.#digest = digest;
    this.#judge = judge;
    this.#report = report;
    this.#socket = new WebSocket(socketUrl(url), "upload.v1");
    this.#socket.onopen = () => {
      this.opened = true;
      socketOpened();
    };
    this.#socket.onmessage = ({ data }) => this.#guard(this.#heard(data));
    this.#socket.onclose = (event) => this.#outcome.reject(Failure.fromClose(event, this.#error));
    digest.onprogress = () => this.#guard(this.#pump());
    this.#silence = new Silence(
      () => this.#patience(),
      (failure) => this.#outcome.reject(failure),
    );
  }

  /** @returns {Promise<{name: string, size: number, sha256: string}>} the receipt, once it is there */
  async receipt() {
    try {
      return await this.#outcome.promise;
    } finally {
      this.close();
    }
  }

  /** Leaves the upload as it is: a close is never an end. */
  close() {
    this.#silence.close();
    this.#digest.onprogress = () => {};
    this.#socket.onmessage = null;
    this.#socket.close();
    this.#outcome.reject(Failure.aborted());
  }

  #guard(work) {
    work.catch((error) => this.#outcome.reject(error));
  }

  async #heard(data) {
    const message = JSON.parse(data);
    this.#silence.restart();
    if (message.type === "ready") await this.#ready(message);
    else if (message.type === "ack") await this.#ack(message);
    else if (message.type === "stored") this.#outcome.resolve(message);
    else if (message.type === "error") this.#error = message;
  }

  async #ready({ offset, sha256, window }) {
    this.#owed = false;
    this.#judge(await this.#same(offset, sha256));
    this.#sent = this.#acked = offset;
    this.#window = window;
    this.#report({ received: offset, doing: "sending" });
    this.#guard(this.#digest.at(this.#file.size)); // begins now, beside the sending
    await this.#pump();
  }

  /** Whether the bytes that the service has are the beginning of our file; null where it does not know them well yet. */
  async #same(offset, sha256) {
    if (offset === 0) return true;
    if (offset > this.#file.size) return false;
    if (!sha256) return null;
    this.#report({ received: offset, doing: "checking" });
    return (await this.#digest.at(offset)) === sha256;
  }

  async #ack({ offset, durable }) {
    this.#acked = offset;
    this.#owed = this.#sent > offset || this.#ended;
    this.#report({ received: offset, durable });
    await this.#pump();
  }

  /** Sends what there is room for. One at a time: every ack and every hashed stretch calls it again. */
  async #pump() {
    if (this.#pumping || !this.#window) return;
    this.#pumping = true;
    for (let end = this.#room(); end > this.#sent; end = this.#room()) await this.#send(end);
    this.#pumping = false;
    if (this.#sent === this.#file.size) {
      this.#window = 0;
      await this.#end();
    }
  }

  /** How far may be sent now; in whole pieces, but for the last. Two are under way: acks come for each half window. */
  #room() {
    const left = this.#file.size - this.#sent;
    const piece = Math.min(PIECE, Math.ceil(this.#window / 2), left);
    const blocked = this.#sent + piece > this.#acked + this.#window || this.#sent > this.#digest.hashed + AHEAD;
    return blocked || !this.#open ? this.#sent : this.#sent + piece;
  }

  /** A file of one piece is read here, where it is told if it cannot be; of a larger one the digest tells that. */
  async #send(end) {
    const piece = this.#file.slice(this.#sent, end);
    const data = this.#file.size > PIECE ? piece : await piece.arrayBuffer();
    if (!this.#open) return;
    this.#socket.send(data);
    this.#sent = end;
    this.#await();
  }

  async #end() {
    this.#report({ doing: "finishing" });
    const sha256 = await this.#digest.at(this.#file.size);
    this.#ended = true;
    this.#say({ type: "end", sha256 });
  }

  get #open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  #say(message) {
    if (this.#open) this.#socket.send(JSON.stringify(message));
    this.#await();
  }

  #await() {
    this.#owed = true;
    this.#silence.restart();
  }

  #patience() {
    if (this.#socket.readyState === WebSocket.CONNECTING) return CONNECTING;
    if (!this.#owed) return Infinity;
    return this.#ended && this.#acked === this.#file.size ? STORING : SILENCE;
  }
}
