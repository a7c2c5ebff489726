/** The plain HTTP requests about uploads. Each rejects with a Failure; it is `aborted` when `signal` was. */

import { authorization, refused } from "../app/credentials.js";
import { Failure } from "./failure.js";

const LIMIT = 10_000; // milliseconds for a request and its answer: on a dead link neither ever ends by itself

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
async function once(url, { signal, ...options }, read) {
  if (signal?.aborted) throw Failure.aborted();
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, LIMIT);
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

/** Cancels an upload; the service forgets its bytes. One that it does not know any more is as good as cancelled. */
export async function cancel(url, signal) {
  try {
    await request(url, { method: "DELETE", signal }, () => {});
  } catch (failure) {
    if (failure.code !== "unknown_upload") throw failure;
  }
}
