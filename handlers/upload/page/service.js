/** The plain HTTP requests about uploads. Each rejects with a Trouble, or with what `signal` was aborted with. */

import { Trouble } from "./trouble.js";

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new Trouble("unreachable", "", { passing: true });
  }
  if (!response.ok) throw await Trouble.fromResponse(response);
  return response;
}

/** Creates an upload. @returns {Promise<{url: string, name: string, offset: number, expires: string}>} */
export async function create(path, { name, size }, signal) {
  const body = JSON.stringify({ name, size });
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return (await request(path, { method: "POST", headers, body, signal })).json();
}

/** Asks how far an upload is. @returns {Promise<{state: "open" | "stored", name: string, offset: number}>} */
export async function ask(url, signal) {
  return (await request(url, { headers: { Accept: "application/json" }, signal })).json();
}

/** Cancels an upload; the service forgets its bytes. */
export async function cancel(url) {
  await request(url, { method: "DELETE" });
}
