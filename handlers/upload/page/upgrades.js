/**
 * Whether WebSockets get through to the service. A page is not told why one did not open; but where the service
 * answers requests all the while, something on the way refuses the upgrade, or takes it out.
 */

import * as service from "./service.js";

const ENOUGH = 2; // sockets that did not open: one may have come at a bad moment

let opened = false; // one has
let failed = 0;
let tell = () => {};

/** Calls this once, when files are sent by plain requests from then on. */
export function onplain(call) {
  tell = call;
}

/** Whether files are to be sent by plain requests. */
export function plain() {
  return !opened && failed >= ENOUGH;
}

/** A socket is open. */
export function socketOpened() {
  opened = true;
}

/** One has ended before it was open. @param {string} path the handler's */
export async function socketFailed(path) {
  if (opened || plain() || !(await service.answers(path))) return;
  failed += 1;
  if (plain()) tell();
}
