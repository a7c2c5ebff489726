/** The small files that are still to be sent, in order. The first few are read ahead: a disk takes its time. */

import * as service from "./service.js";

const AHEAD = 32; // files

export class Supply {
  #path;
  #files;

  /**
   * Whether the next files are likely to be stored already, because the last one was; null before the first answer.
   * Then they are asked for before they are sent, which costs a request each, and saves their bytes.
   */
  expecting = null;

  /** @param {string} path the handler's @param {import("./small-file.js").SmallFile[]} files */
  constructor(path, files) {
    this.#path = path;
    this.#files = files;
  }

  /** The first one that can be read and is not stored, left where it is; null when there is none. */
  async first() {
    while (this.#files.length) {
      for (const file of this.#files.slice(0, AHEAD)) file.read(this.expecting ? (token) => this.#ask(token) : null);
      const file = this.#files[0];
      await file.read();
      if (file !== this.#files[0]) continue; // all was taken away meanwhile
      if (file.state === "queued") return file;
      this.#files.shift();
    }
    return null;
  }

  /** Takes the first one away. */
  shift() {
    return this.#files.shift();
  }

  /** Puts these in front of all others. */
  back(files) {
    this.#files.unshift(...files);
  }

  /** Puts one behind all others. */
  add(file) {
    this.#files.push(file);
  }

  /** Takes all away. */
  clear() {
    return this.#files.splice(0);
  }

  /** The receipt of a file, or null: to send it is always right. */
  async #ask(token) {
    if (!this.expecting) return null;
    const facts = await service.ask(`${this.#path}/${token}`).catch(() => null);
    if (facts?.state === "stored") return facts;
    this.expecting = false;
    return null;
  }
}
