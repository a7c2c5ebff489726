/** What the pages share about WebSockets: their URLs, and what a close code says. */

const MEANINGS = new Map([
  [1000, "done"],
  [1001, "going away"],
  [1002, "protocol error"],
  [1003, "kind of message not understood"],
  [1005, "closed without a code"],
  [1006, "the link was lost, or the service cannot be reached"],
  [1007, "text that is not UTF-8"],
  [1008, "against the rules"],
  [1009, "message too big"],
  [1011, "a fault of the service"],
  [1012, "the service restarts"],
  [1013, "the service is busy, try again later"],
  [4408, "timed out"],
]);

/**
 * The `ws:` or `wss:` URL of a path of this service, as the page's own scheme says.
 * @param {string} path @returns {string}
 */
export function socketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** @param {number} code a close code @returns {string} it in words, or nothing where there are none */
export function meaning(code) {
  return MEANINGS.get(code) ?? "";
}
