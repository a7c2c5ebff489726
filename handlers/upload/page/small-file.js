/** A file that is sent with many others on one socket: in memory from its reading to its answer. */

import { Sha256 } from "./sha256.js";
import { freshToken } from "./token.js";
import { Failure } from "./failure.js";

export const SMALL = 1024 * 1024; // bytes of a file that is sent this way

export class SmallFile {
  /** @type {"queued" | "sending" | "stored" | "failed" | "cancelled"} */
  state = "queued";
  bytes = null;
  sha256 = ""; // of the bytes
  open = false; // the service has begun with it: there is an upload, which ends stored, or is cancelled
  unanswered = false; // it was sent, and the connection was lost before the answer came
  receipt = null; // {name, size, sha256}
  already = false; // it was stored before this page sent it
  failure = null; // why it has failed

  #moved;
  #reading = null;

  /**
   * @param {import("./files.js").Named & {token: string}} found without a file it has failed already
   * @param {(file: SmallFile, before: string) => void} moved called when its state has changed
   */
  constructor({ name, file = null, size, token, failure = null }, moved) {
    Object.assign(this, { name, file, size, token, failure });
    this.#moved = moved;
    if (failure) this.state = "failed";
  }

  /** Whether it was stored under another name than its own. */
  get renamed() {
    return this.receipt !== null && this.receipt.name !== this.name;
  }

  /**
   * Reads and digests it, once however often it is asked for; a file that cannot be read has failed.
   * @param {((token: string) => Promise<object | null>) | null} ask for its receipt, where it may be stored already
   */
  read(ask) {
    this.#reading ??= this.#read(ask);
    return this.#reading;
  }

  async #read(ask) {
    try {
      this.bytes = new Uint8Array(await this.file.arrayBuffer());
      this.sha256 = await digest(this.bytes);
      const receipt = await ask?.(this.token);
      if (receipt && this.state === "queued") this.answered(receipt);
    } catch (error) {
      if (this.state === "queued") this.fail(Failure.from(error));
    }
  }

  begin() {
    this.open = false;
    this.#become("sending");
  }

  /** It has to be sent, or sent again. */
  enqueue() {
    if (this.failure?.code === "token_conflict") this.token = freshToken();
    this.failure = null;
    this.#become("queued");
  }

  /** It has to be sent although it is stored. */
  repeat() {
    Object.assign(this, { token: freshToken(), receipt: null, already: false });
    this.enqueue();
  }

  /** The socket is gone and with it the answer. */
  lost() {
    this.unanswered = true;
    this.enqueue();
  }

  /** @param {{name: string, size: number, sha256: string}} receipt it is stored only if that tells of its bytes */
  answered({ name, size, sha256 }) {
    const already = !this.open && !this.unanswered;
    this.unanswered = false;
    if (size === this.bytes.length && sha256 === this.sha256) {
      Object.assign(this, { already, receipt: { name, size, sha256 } });
      this.#end("stored");
    } else if (already) {
      this.token = freshToken(); // another file that was once alike in name, size and time
      this.enqueue();
    } else {
      this.fail(new Failure("digest_mismatch", `The service has stored other bytes as “${name}”.`));
    }
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.failure = failure;
    this.#end("failed");
  }

  cancel() {
    this.#end("cancelled");
  }

  #end(state) {
    this.bytes = this.#reading = null;
    this.#become(state);
  }

  #become(state) {
    const before = this.state;
    this.state = state;
    this.#moved(this, before);
  }
}

/** The browser's own digest is faster, and missing on plain http from another host. */
async function digest(bytes) {
  if (globalThis.crypto?.subtle) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).reduce(hex, "");
  }
  const hash = new Sha256();
  hash.update(bytes);
  return hash.hex();
}

const hex = (words, byte) => words + byte.toString(16).padStart(2, "0");
