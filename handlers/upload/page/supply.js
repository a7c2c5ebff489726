/** The small files that are still to be sent, in order. The first few are read ahead: a disk takes its time. */

const AHEAD = 32; // files

export class Supply {
  #files;

  /** @param {import("./small-file.js").SmallFile[]} files */
  constructor(files) {
    this.#files = files;
  }

  /** The first one that can be read, left where it is; null when there is none. */
  async first() {
    while (this.#files.length) {
      for (const file of this.#files.slice(0, AHEAD)) file.read();
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
}
