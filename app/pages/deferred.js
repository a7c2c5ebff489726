/** A promise with its two ends: `Promise.withResolvers`, which older browsers do not have. */

/** @returns {{promise: Promise<any>, resolve: (value?: any) => void, reject: (reason: Error) => void}} */
export function deferred() {
  let ends;
  const promise = new Promise((resolve, reject) => (ends = { resolve, reject }));
  return { promise, ...ends };
}
