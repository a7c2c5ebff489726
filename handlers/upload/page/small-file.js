/** A file that is sent with many others on one socket: in memory from its reading to its answer. */

import { Sha256 } from "./sha256.js";
import { Trouble } from "./trouble.js";

export const SMALL = 1024 * 1024; // bytes of a file that is sent this way

export class SmallFile {
  /** @type {"queued" | "sending" | "stored" | "failed" | "cancelled"} */
  state = "queued";
  bytes = null;
  sha256 = ""; // of the bytes
  token = null; // as soon as the service has said it
  receipt = null; // {name, size, sha256}
  trouble = null; // why it has failed
  unsure = false; // it was sent, and the answer was lost before there was a token: it may be there already

  #moved;
  #reading = null;

  /**
   * @param {import("./files.js").Named} found without a file it has failed already
   * @param {(file: SmallFile, before: string) => void} moved called when its state has changed
   */
  constructor({ name, file = null, size, trouble = null }, moved) {
    Object.assign(this, { name, file, size, trouble });
    this.#moved = moved;
    if (trouble) this.state = "failed";
  }

  /** Whether it was stored under another name than its own. */
  get renamed() {
    return this.receipt !== null && this.receipt.name !== this.name;
  }

  /** Reads and digests it, once however often it is asked for; a file that cannot be read has failed. */
  read() {
    this.#reading ??= this.#read();
    return this.#reading;
  }

  async #read() {
    try {
      this.bytes = new Uint8Array(await this.file.arrayBuffer());
      this.sha256 = await digest(this.bytes);
    } catch (error) {
      if (this.state === "queued") this.fail(Trouble.from(error));
    }
  }

  begin() {
    this.#become("sending");
  }

  /** It has to be sent, or sent again. */
  enqueue() {
    this.trouble = null;
    this.#become("queued");
  }

  /** The socket is gone and with it the answer: what has a token can be asked for, what has none cannot. */
  lost() {
    this.unsure ||= this.token === null;
    this.enqueue();
  }

  /** @param {{name: string, size: number, sha256: string}} receipt it is stored only if that tells of its bytes */
  answered({ name, size, sha256 }) {
    if (size !== this.bytes.length || sha256 !== this.sha256) {
      this.fail(new Trouble("digest_mismatch", `The service has stored other bytes as “${name}”.`));
      return;
    }
    this.receipt = { name, size, sha256 };
    this.#end("stored");
  }

  /** @param {Trouble} trouble */
  fail(trouble) {
    this.trouble = trouble;
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
