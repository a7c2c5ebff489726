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
  ["expired", "It lay unfinished for too long and is gone."],
  ["forbidden_origin", "The service does not take uploads from this address."],
  ["idle", "Nothing was sent for too long."],
  ["incomplete", "The service misses bytes."],
  ["internal_error", "The service failed. Its log says why."],
  ["invalid_name", "The service does not take this name."],
  ["lost", "The connection was lost."],
  ["mislaid", "This page has lost sight of it, which is a fault of the page. Try again."],
  ["name_taken", "There is something of this name already."],
  ["no_space", "The service has no room left."],
  ["not_found", "There is nothing at this address any more."],
  ["not_permitted", "The service may not write there. Whoever runs it has to change that."],
  ["other_file", "This is another file."],
  ["page_fault", "This page failed, which is a fault of its own."],
  ["overloaded", "The service is busy."],
  ["perhaps_other", "This may be another file."],
  ["restarting", "The service restarts."],
  ["slow_reader", "This page did not read the answers of the service in time."],
  ["storage_failed", "The service could not write it to its disk."],
  ["superseded", "It was taken over elsewhere: in another tab, or by another program."],
  ["timed_out", "The connection was too slow."],
  ["token_conflict", "The service has another file under the same token. Try again: it gets a new one."],
  ["too_large", "This is larger than the service takes."],
  ["too_many_connections", "The service is busy."],
  ["too_many_files", "The service has too many files open at the moment."],
  ["too_many_uploads", "The service has too many unfinished uploads."],
  ["unanswered", "It was sent, and the connection was lost before the answer came. It may be stored."],
  ["unauthorized", "The service wants to know who you are."],
  ["unknown_upload", "There is no such upload any more: it was cancelled, has expired, or was finished long ago."],
  ["unreachable", "The service cannot be reached."],
  ["unreadable", "The file cannot be read: it was changed or moved. Choose it again."],
  ["unsupported_media_type", "The service did not understand this page."],
]);

const PASSING_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const PASSING_CLOSES = new Set([1000, 1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429]);

export class Trouble extends Error {
  /**
   * @param {string} code a code word
   * @param {string} detail for people
   * @param {{passing?: boolean, after?: number}} how whether it may pass by itself, and after how many seconds
   */
  constructor(code, detail = "", { passing = false, after = 0 } = {}) {
    super(detail);
    this.code = code;
    this.detail = detail.replace(/\b(\d+) bytes\b/g, (_, count) => bytes(Number(count)));
    this.passing = passing;
    this.after = after;
  }

  /** Of what was left off here, on purpose: what comes next is known to whoever did it. */
  static aborted() {
    return new Trouble("aborted", "", { passing: true });
  }

  /** A sentence for it; the detail says more. */
  get words() {
    return WORDS.get(this.code) ?? "It did not work.";
  }

  /** From whatever was thrown; the browser throws a DOMException when it cannot read a file. */
  static from(error) {
    if (error instanceof Trouble) return error;
    return new Trouble(error instanceof DOMException ? "unreadable" : "page_fault", error.message);
  }

  /** From an HTTP answer that is no success (RFC 9457). @param {Response} response */
  static async fromResponse(response) {
    const problem = await response.json().catch(() => ({}));
    return new Trouble(problem.code ?? `http_${response.status}`, problem.detail ?? response.statusText, {
      passing: PASSING_STATUSES.has(response.status),
      after: Number(response.headers.get("Retry-After")) || 0,
    });
  }

  /** From an error message about one of many files. @param {{status: number, code: string, detail: string}} message */
  static fromMessage({ status, code, detail }) {
    return new Trouble(code, detail, { passing: PASSING_STATUSES.has(status) });
  }

  /** From the end of a socket and the error message before it, if there was one. @param {CloseEvent} event */
  static fromClose({ code, reason }, error) {
    const passing = PASSING_CLOSES.has(code);
    if (error) return new Trouble(error.code, error.detail, { passing });
    if (code === 4409) return new Trouble("superseded", reason);
    if (code === 1012) return new Trouble("restarting", reason, { passing });
    return new Trouble(passing ? "lost" : `closed_${code}`, reason || meaning(code), { passing });
  }
}
