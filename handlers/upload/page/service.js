/** The plain HTTP requests about uploads. Each rejects with a Failure; it is `aborted` when `signal` was. */

import { authorization, refused } from "../app/credentials.js";
import { Failure } from "./failure.js";

const LIMIT = 10_000; // milliseconds for a request and its answer: on a dead link neither ever ends by itself
const LONG = 120_000; // the same for one that brings bytes, or has them stored
const DRAFT = { "Upload-Draft-Interop-Version": "8" }; // of Resumable Uploads for HTTP

/** A request that must say who asks is made again once that is known. */
async function request(url, options, read) {
  for (;;) {
    const used = authorization();
    try {
      return await once(url, { ...options, headers: { ...options.headers, ...used } }, read);
    } catch (failure) {
      if (failure.code !== "unauthorized") throw failure;
      await refused(used);
    }
  }
}

/** Whatever else happens, `read` has given what it makes of the answer, or this has rejected, when the time is up. */
async function once(url, { signal, patience = LIMIT, ...options }, read) {
  if (signal?.aborted) throw Failure.aborted();
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, patience);
  signal?.addEventListener("abort", stop);
  try {
    const response = await fetch(url, { cache: "no-store", ...options, signal: limit.signal });
    if (!response.ok) throw await Failure.fromResponse(response);
    return await read(response);
  } catch (error) {
    if (signal?.aborted) throw Failure.aborted();
    throw error instanceof Failure ? error : new Failure("unreachable", "", { transient: true });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

const json = (response) => response.json();

/** Creates an upload, or finds the one that has this token. @returns what `ask` does, and its `url` where it is open */
export function create(path, { name, size, token, modified }, signal) {
  const body = JSON.stringify({ name, size, token, mtime: moment(modified) });
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return request(path, { method: "POST", headers, body, signal }, json);
}

/** The time of modification that a file keeps, of milliseconds since 1970; undefined where none can be said. */
export const moment = (modified) =>
  modified > 0 && modified < 253402300800000 ? new Date(modified).toISOString() : undefined;

/** Asks how far an upload is. @returns {Promise<{state: "open" | "stored", name: string, offset: number}>} */
export function ask(url, signal) {
  return request(url, { headers: { Accept: "application/json" }, signal }, json);
}

/** The same before sending by requests: one that still runs is ended, so that the answer stays true. */
export function askAlone(url, signal) {
  return request(url, { headers: { Accept: "application/json", ...DRAFT }, signal }, json);
}

/** A browser may send a request twice, and tell only the second answer: then the service is to be asked. */
const TWICE = ["offset_mismatch", "already_stored"];

async function patch(url, options, read) {
  try {
    return await request(url, { method: "PATCH", patience: LONG, ...options }, read);
  } catch (failure) {
    throw TWICE.includes(failure.code) ? new Failure("lost", failure.detail, { transient: true }) : failure;
  }
}

/** Appends bytes at an offset. @param {Blob} body @returns {Promise<number>} how far it is; so much is safe on disk */
export function append(url, offset, body, signal) {
  const headers = { ...partial(offset), "Upload-Complete": "?0" };
  const read = (response) => Number(response.headers.get("Upload-Offset"));
  return patch(url, { headers, body, signal }, read);
}

/** Appends the last bytes; all of them must have this digest. @returns the receipt */
export function complete(url, offset, sha256, signal, body = new Uint8Array()) {
  const digest = btoa(sha256.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16))));
  const headers = { ...partial(offset), "Upload-Complete": "?1", "Repr-Digest": `sha-256=:${digest}:` };
  return patch(url, { headers, body, signal }, json);
}

function partial(offset) {
  return { ...DRAFT, "Content-Type": "application/partial-upload", "Upload-Offset": String(offset) };
}

/** Whether the service answers a request on its path, where it has only sockets. */
export async function answers(path) {
  const failure = await request(path, { headers: { Accept: "application/json" } }, json).catch((why) => why);
  return failure.code === "upgrade_required";
}

/** Cancels an upload; the service forgets its bytes. One that it does not know any more is as good as cancelled. */
export async function cancel(url, signal) {
  try {
    await request(url, { method: "DELETE", signal }, () => {});
  } catch (failure) {
    if (failure.code !== "unknown_upload") throw failure;
  }
}
