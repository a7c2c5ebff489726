/** What can go wrong, by the code word the service says or one of our own, and how a person is told. */

import { bytes } from "../app/format.js";
import { meaning } from "../app/socket.js";

export const WORDS = new Map([
  ["already_stored", "It was stored already."],
  ["bad_message", "The service did not understand this page."],
  ["bad_request", "The service did not understand this page."],
  ["cancelled", "It was cancelled."],
  ["digest_mismatch", "What arrived differs from the file; nothing was stored."],
  ["draining", "The service restarts."],
  ["expired", "It has expired: it was unfinished for too long."],
  ["forbidden", "Your token does not open this part of the service."],
  ["forbidden_origin", "The service does not take uploads from this address."],
  ["hook_unavailable", "The service could not ask whether it may take this. Try again later."],
  ["idle", "Nothing was sent for too long."],
  ["incomplete", "Some bytes are missing."],
  ["internal_error", "The service failed. Its log says why."],
  ["invalid_name", "The service does not take this name."],
  ["lost", "The connection was lost."],
  ["misdirected", "The service does not know itself under this address. Whoever runs it has to add it."],
  ["name_taken", "There is something of this name already."],
  ["no_space", "The disk of the service is full, or its quota is used up."],
  ["not_found", "There is nothing at this address any more."],
  ["not_permitted", "The service may not write there. Whoever runs it has to change that."],
  ["other_file", "This is another file."],
  ["page_fault", "This page failed, which is a fault of its own."],
  ["overloaded", "The service is busy."],
  ["perhaps_other", "This may be another file."],
  ["quota_exceeded", "You have stored as much as you may in a day."],
  ["refused", "The service does not want this file."],
  ["restarting", "The service restarts."],
  ["slow_down", "The service had too many requests from here."],
  ["slow_reader", "This page did not read the answers of the service in time."],
  ["storage_failed", "The service could not write it to its disk."],
  ["superseded", "It was taken over elsewhere: in another tab, or by another program."],
  ["timed_out", "The connection was too slow."],
  ["token_conflict", "The service has another file under the same token. Try again: it gets a new one."],
  ["too_large", "This is larger than the service takes."],
  ["too_many_connections", "The service is busy."],
  ["too_many_files", "The service has too many files open at the moment."],
  ["too_many_uploads", "The service has too many unfinished uploads."],
  ["unaccounted", "This page has no outcome for it, which is a fault of the page. Try again."],
  ["unanswered", "It was sent, and the connection was lost before the answer came. It may be stored."],
  ["unauthorized", "The service wants to know who you are."],
  ["unknown_upload", "There is no such upload any more: it was cancelled, has expired, or was finished long ago."],
  ["unreachable", "The service cannot be reached."],
  ["unreadable", "The file cannot be read: it was changed or moved. Choose it again."],
  ["unsupported_media_type", "The service did not understand this page."],
]);

const TRANSIENT_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const TRANSIENT_CLOSES = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429]);

export class Failure extends Error {
  /**
   * @param {string} code a code word
   * @param {string} detail for people
   * @param {{transient?: boolean, after?: number}} how whether it may pass by itself, and after how many seconds
   */
  constructor(code, detail = "", { transient = false, after = 0 } = {}) {
    super(detail);
    this.code = code;
    this.detail = detail.replace(/\b(\d+) bytes\b/g, (_, count) => bytes(Number(count)));
    this.transient = transient && code !== "quota_exceeded"; // that passes, but nobody waits so long
    this.after = after;
  }

  /** Of what was left off here, on purpose: what comes next is known to whoever did it. */
  static aborted() {
    return new Failure("aborted", "", { transient: true });
  }

  /** A sentence for it; the detail says more. */
  get words() {
    return WORDS.get(this.code) ?? "It did not work.";
  }

  /** From whatever was thrown; the browser throws a DOMException when it cannot read a file. */
  static from(error) {
    if (error instanceof Failure) return error;
    return new Failure(error instanceof DOMException ? "unreadable" : "page_fault", error.message);
  }

  /** From an HTTP answer that is no success (RFC 9457). @param {Response} response */
  static async fromResponse(response) {
    const problem = await response.json().catch(() => ({}));
    return new Failure(problem.code ?? `http_${response.status}`, problem.detail ?? response.statusText, {
      transient: TRANSIENT_STATUSES.has(response.status),
      after: Number(response.headers.get("Retry-After")) || 0,
    });
  }

  /** From an error message about one of many files. @param {{status: number, code: string, detail: string}} message */
  static fromMessage({ status, code, detail }) {
    return new Failure(code, detail, { transient: TRANSIENT_STATUSES.has(status) });
  }

  /** From the end of a socket and the error message before it, if there was one. @param {CloseEvent} event */
  static fromClose({ code, reason }, error) {
    const transient = TRANSIENT_CLOSES.has(code);
    if (error) return new Failure(error.code, error.detail, { transient });
    if (code === 4409) return new Failure("superseded", reason);
    if (code === 1012) return new Failure("restarting", reason, { transient });
    return new Failure(transient ? "lost" : `closed_${code}`, reason || meaning(code), { transient });
  }
}
