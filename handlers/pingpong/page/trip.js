/** One true round trip: a small HTTP request to this service and the first byte of its answer. */

const PROBE = new URL("/healthz", location.href).href;

/** @returns {Promise<number | undefined>} milliseconds, or nothing where it could not be measured */
export async function roundTrip() {
  // The browser's own record leaves out the opening of a connection and the wait for this page's turn.
  const { promise, resolve } = Promise.withResolvers();
  const observer = new PerformanceObserver((list) => {
    const entry = list.getEntriesByName(PROBE).at(-1);
    if (entry) resolve(entry.responseStart - entry.requestStart);
  });
  observer.observe({ type: "resource" });
  try {
    const response = await fetch(PROBE, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    await response.arrayBuffer();
    return await promise;
  } catch {
    return undefined;
  } finally {
    observer.disconnect();
    performance.clearResourceTimings(); // its buffer is small and would fill in a long game
  }
}
