/**
 * Uploads by plain requests, as Resumable Uploads for HTTP has them: for where no WebSocket gets through. The two
 * classes are to an upload and to a batch what `Session` and `Many` are.
 */

import * as service from "./service.js";
import { Failure } from "./failure.js";

const FIRST = 1024 * 1024; // bytes of the first request
const LEAST = 64 * 1024;
const MOST = 64 * 1024 * 1024;
const SHORT = 2_000; // milliseconds; after a request that took less the next one is twice as long
const FOR_ALL = ["no_space", "not_permitted", "quota_exceeded", "too_many_files"]; // the next file would fail as well

export class Requests {
  #stop = new AbortController();
  #size = FIRST;
  #limit = MOST;

  /** As `Session`. */
  constructor(url, file, digest, judge, report) {
    Object.assign(this, { url, file, digest, judge, report });
  }

  /** @returns {Promise<{name: string, size: number, sha256: string}>} the receipt, once it is there */
  async receipt() {
    const facts = await service.askAlone(this.url, this.#stop.signal);
    if (facts.state === "stored") return facts;
    const begun = facts.offset;
    this.judge(begun === 0 || (begun > this.file.size ? false : null));
    this.report({ received: begun, doing: "sending" });
    const hashed = this.digest.at(this.file.size); // begins now, beside the sending
    hashed.catch(() => {}); // it is awaited below
    for (let offset = begun; offset < this.file.size; ) offset = await this.#append(offset);
    this.report({ doing: "finishing" });
    return this.#complete(begun, await hashed);
  }

  /** Leaves the upload as it is. */
  close() {
    this.#stop.abort();
  }

  /** One request more; how far the upload is then. */
  async #append(offset) {
    const began = performance.now();
    const piece = this.file.slice(offset, offset + this.#size);
    try {
      const received = await service.append(this.url, offset, piece, this.#stop.signal);
      if (performance.now() - began < SHORT) this.#size = Math.min(2 * this.#size, this.#limit);
      this.report({ received, durable: received });
      return received;
    } catch (failure) {
      if (failure.code !== "http_413" || this.#size <= LEAST) throw failure; // a proxy's, which takes smaller ones
      this.#size = this.#limit = Math.max(this.#size / 2, LEAST);
      return offset;
    }
  }

  async #complete(begun, sha256) {
    try {
      return await service.complete(this.url, this.file.size, sha256, this.#stop.signal);
    } catch (failure) {
      if (failure.code !== "digest_mismatch" || begun === 0) throw failure;
      throw new Failure("other_file", "It does not begin with the bytes that have arrived.");
    }
  }
}

export class ManyRequests {
  opened = true; // there is no socket that could fail to open

  #path;
  #supply;
  #stop = new AbortController();
  #stopped = false;

  /** As `Many`. */
  constructor(path, supply) {
    this.#path = path;
    this.#supply = supply;
  }

  /** Until all that is in the supply is sent and answered; rejects with a Failure where that ends earlier. */
  async run() {
    while (!this.#stopped && (await this.#supply.first())) await this.#send(this.#supply.shift());
  }

  /** The supply was taken away: ends as soon as what was sent is answered. */
  stop() {
    this.#stopped = true;
  }

  /** Ends at once. */
  abandon() {
    this.#stop.abort();
  }

  async #send(file) {
    file.begin();
    try {
      file.answered(await this.#store(file));
      if (file.state === "queued") this.#supply.back([file]);
      this.#supply.expecting = file.already;
    } catch (error) {
      this.#failed(file, Failure.from(error));
    }
  }

  /** Safe to repeat: the token keeps it from being stored twice. @returns the receipt */
  async #store(file) {
    const { name, token, sha256, bytes } = file;
    const url = `${this.#path}/${token}`;
    const create = () => service.create(this.#path, { name, size: bytes.length, token }, this.#stop.signal);
    const facts = await create();
    if (facts.state === "stored") return facts;
    file.open = true;
    if (facts.offset) await service.cancel(url, this.#stop.signal).then(create);
    return service.complete(url, 0, sha256, this.#stop.signal, bytes);
  }

  #failed(file, failure) {
    this.#supply.expecting ??= false;
    if (!failure.transient && !FOR_ALL.includes(failure.code)) return file.fail(failure);
    if (failure.transient) file.lost();
    else file.enqueue();
    this.#supply.back([file]);
    throw failure;
  }
}
