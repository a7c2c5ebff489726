/** One upload as the page shows it: its bar, what it does in words, its buttons, and in the end its receipt. */

import { bytes, duration, minute } from "../app/format.js";
import { shown } from "../app/names.js";
import { Card } from "./card.js";
import { Rate } from "./rate.js";

const BUTTONS = {
  parked: ["choose", "cancel"],
  waiting: ["now", "cancel"],
  failed: ["again", "rechoose", "cancel", "dismiss"],
  taken: ["back", "dismiss"],
  stored: ["repeat", "dismiss"],
  cancelled: ["dismiss"],
  connecting: ["now", "cancel"],
};
const AT_WORK = ["cancel"];
const ASKED = { other_file: ["keep", "anew", "aside"], perhaps_other: ["trust", "keep", "anew", "aside"] };
const HOPELESS = ["invalid_name", "too_large", "unreadable", "not_permitted"]; // to try again as it is fails again
const SAID_ALREADY = ["lost", "superseded", "restarting", "unreadable", "digest_mismatch"]; // their detail says no more
const TICKING = ["connecting", "sending", "waiting"]; // their words change although nothing happens
const BARS = ["parked", "connecting", "checking", "sending", "finishing", "waiting", "taken", "asking"];

export class Row extends Card {
  #upload;
  #rate = new Rate();

  /**
   * @param {import("./upload.js").Upload} upload
   * @param {Record<string, () => void>} actions what its buttons do, by their names; `copy` is the row's own
   */
  constructor(upload, actions) {
    super("row", upload, actions);
    this.#upload = upload;
    this.actions = { ...actions, copy: () => this.#copy() };
    this.draw();
  }

  fill() {
    const { state } = this.#upload;
    if (state === "sending") this.#rate.note(this.#upload.received);
    else this.#rate.reset();
    this.#bar(BARS.includes(state) || this.#kept() !== "");
    this.part("words").textContent = this.#words();
    this.#detail();
    this.#question();
    this.#receipt();
    this.#link();
  }

  get ticking() {
    return TICKING.includes(this.#upload.state);
  }

  /** What failed before the service knew of it can only be dismissed, what it knows of only be cancelled. */
  offers(act) {
    const { state, url, failure } = this.#upload;
    if (act === "copy") return true; // it stands in the receipt, and comes and goes with that
    if (state === "asking") return ASKED[failure.code].includes(act) && (act !== "aside" || this.#renamed);
    if (act === "again" && HOPELESS.includes(failure?.code)) return false;
    if (act === "rechoose" && failure?.code !== "unreadable") return false;
    if (act === "repeat" && !this.#upload.already) return false;
    if (state === "connecting" && act === "now") return this.slow;
    if (state === "failed" && act === (url ? "dismiss" : "cancel")) return false;
    return (BUTTONS[state] ?? AT_WORK).includes(act);
  }

  #bar(visible) {
    const { size, received, durable } = this.#upload;
    const bar = this.part("bar");
    bar.hidden = !visible || size === null;
    if (bar.hidden) return;
    const percent = (count) => (size ? (100 * count) / size : 0);
    bar.setAttribute("aria-label", this.#upload.name);
    bar.setAttribute("aria-valuenow", Math.floor(percent(received)));
    bar.setAttribute("aria-valuetext", `${bytes(received)} of ${bytes(size)}, ${bytes(durable)} safe on disk`);
    this.part("received").style.width = `${percent(received)}%`;
    this.part("durable").style.width = `${percent(durable)}%`;
  }

  #words() {
    const { state, size, received, failure, retryAt } = this.#upload;
    const whole = size === null ? "" : ` of ${bytes(size)}`;
    switch (state) {
      case "parked":
        return `${bytes(received)}${whole} arrived. Choose the same file to go on${this.#until()}.`;
      case "queued":
        return `${bytes(size)} · Queued`;
      case "connecting":
        return `${bytes(size ?? this.#upload.file.size)} · Connecting…`;
      case "checking":
        return `Checking that the ${bytes(received)} already there are the same`;
      case "sending":
        return `${bytes(received)}${whole}${this.#pace()}`;
      case "finishing":
        return `${bytes(size)} sent · being verified and made safe`;
      case "waiting":
        return `${failure.words} Next attempt in ${duration((retryAt - Date.now()) / 1000)}.`;
      case "stored":
        return `${bytes(size)} · ${this.#upload.already ? "already stored" : "stored and verified"}`;
      case "cancelled":
        return failure ? `Cancelled, but the service does not know that yet. ${failure.words}` : "Cancelled.";
      default:
        return `${failure.words}${this.#kept()}`;
    }
  }

  /** What a failure has not destroyed. */
  #kept() {
    const { state, url, received } = this.#upload;
    return state === "failed" && url && received ? ` ${bytes(received)} are kept.` : "";
  }

  #until() {
    const { expires } = this.#upload;
    return expires ? ` before ${minute(new Date(expires))}` : "";
  }

  #pace() {
    const speed = this.#rate.perSecond;
    if (speed === undefined) return "";
    if (speed === 0) return " · stalled";
    const left = duration((this.#upload.size - this.#upload.received) / speed);
    return ` · ${bytes(speed)}/s · ${left} left`;
  }

  #detail() {
    const { failure } = this.#upload;
    const shown = Boolean(failure?.detail) && !SAID_ALREADY.includes(failure.code);
    this.part("detail").hidden = !shown;
    if (!shown) return;
    this.part("detail-text").textContent = failure.detail;
  }

  /** Whether the file that was chosen has a name of its own. */
  get #renamed() {
    return !this.#upload.named(this.#upload.chosen);
  }

  #question() {
    const asking = this.#upload.state === "asking";
    this.part("question").hidden = !asking;
    if (asking) this.button("aside", `Store it as ${shown(this.#upload.chosen)}`);
  }

  #link() {
    const { url, receipt } = this.#upload;
    const link = this.part("link");
    link.hidden = url === null || url === location.pathname;
    if (url) link.href = url;
    link.textContent = receipt ? "Receipt" : "Link to this upload";
  }

  #receipt() {
    const { receipt, name } = this.#upload;
    this.part("receipt").hidden = !receipt;
    if (!receipt) return;
    this.part("sha256").textContent = receipt.sha256;
    this.part("name").textContent = shown(receipt.name);
    this.part("renamed").hidden = receipt.name === name;
    this.part("wanted").textContent = shown(name);
  }

  /** Selects the digest first: where a page may not write to the clipboard, the keyboard still can. */
  async #copy() {
    getSelection().selectAllChildren(this.part("sha256"));
    const done = await navigator.clipboard?.writeText(this.#upload.receipt.sha256).then(
      () => true,
      () => false,
    );
    this.button("copy", (done ?? document.execCommand("copy")) ? "Copied" : "Selected");
    setTimeout(() => this.button("copy", "Copy"), 2000);
  }
}
