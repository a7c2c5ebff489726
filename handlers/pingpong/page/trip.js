/** One true round trip: a small HTTP request to this service and the first byte of its answer. */

import { deferred } from "../app/deferred.js";

const LIMIT = 5000; // milliseconds; what takes longer is not measured
const PROBE = new URL("../../healthz", import.meta.url).href;

/** @returns {Promise<number | undefined>} milliseconds, or nothing where it could not be measured */
export async function roundTrip() {
  // The browser's own record leaves out the opening of a connection and the wait for this page's turn.
  const { promise, resolve } = deferred();
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntriesByName(PROBE)) resolve(entry.responseStart - entry.requestStart);
  });
  observer.observe({ type: "resource" });
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), LIMIT);
  try {
    const response = await fetch(PROBE, { cache: "no-store", signal: limit.signal });
    await response.arrayBuffer();
    return await promise;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    observer.disconnect();
    performance.clearResourceTimings(); // its buffer is small and would fill in a long game
  }
}
