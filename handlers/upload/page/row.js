/** One upload as the page shows it: its bar, what it does in words, its buttons, and in the end its receipt. */

import { bytes, duration, minute } from "../app/format.js";
import { Rate } from "./rate.js";

const BUTTONS = {
  parked: ["choose", "cancel"],
  waiting: ["now", "cancel"],
  failed: ["again", "cancel", "dismiss"],
  taken: ["back", "dismiss"],
  stored: ["dismiss"],
  cancelled: ["dismiss"],
};
const AT_WORK = ["cancel"];
const SAID_ALREADY = ["lost", "superseded"]; // their detail says no more than their sentence
const TICKING = ["sending", "waiting"]; // their words change although nothing happens
const BARS = ["parked", "connecting", "checking", "sending", "finishing", "waiting", "taken"];

/** Many rows have the same buttons: to those who cannot see the row, each says whose it is. */
function label(button, words, { name }) {
  button.textContent = words;
  button.setAttribute("aria-label", `${words}: ${name}`);
}

export class Row {
  element;
  #upload;
  #rate = new Rate();
  #tick = null;

  /**
   * @param {import("./upload.js").Upload} upload
   * @param {Record<string, () => void>} actions what its buttons do, by their names; `copy` is the row's own
   */
  constructor(upload, actions) {
    this.#upload = upload;
    this.element = document.getElementById("row").content.firstElementChild.cloneNode(true);
    this.#part("name").textContent = upload.name;
    for (const button of this.element.querySelectorAll("button")) {
      label(button, button.textContent, upload);
      button.addEventListener("click", () => (button.dataset.act === "copy" ? this.#copy() : actions[button.dataset.act]()));
    }
    this.draw();
  }

  draw() {
    const { state } = this.#upload;
    const held = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.element.dataset.state = state;
    this.#follow(state);
    this.#bar(BARS.includes(state));
    this.#part("words").textContent = this.#words();
    this.#detail();
    this.#receipt();
    this.#link();
    for (const button of this.element.querySelectorAll("[data-act]:not([data-act=copy])")) {
      button.hidden = !this.#offers(button.dataset.act);
    }
    // A button that went away under the keyboard hands its place to the next one.
    if (held?.hidden) this.element.querySelector("button:not([hidden])")?.focus();
  }

  /** What failed before the service knew of it can only be dismissed, what it knows of only be cancelled. */
  #offers(act) {
    const { state, url } = this.#upload;
    if (state === "failed" && act === (url ? "dismiss" : "cancel")) return false;
    return (BUTTONS[state] ?? AT_WORK).includes(act);
  }

  #part(name) {
    return this.element.querySelector(`.${name}`);
  }

  #follow(state) {
    if (state === "sending") this.#rate.note(this.#upload.received);
    else this.#rate.reset();
    const ticking = TICKING.includes(state);
    if (ticking && !this.#tick) this.#tick = setInterval(() => this.draw(), 1000);
    if (!ticking && this.#tick) this.#tick = clearInterval(this.#tick);
  }

  #bar(visible) {
    const { size, received, durable } = this.#upload;
    const bar = this.#part("bar");
    bar.hidden = !visible || size === null;
    if (bar.hidden) return;
    const percent = (count) => (size ? (100 * count) / size : 0);
    bar.setAttribute("aria-label", this.#upload.name);
    bar.setAttribute("aria-valuenow", Math.floor(percent(received)));
    bar.setAttribute("aria-valuetext", `${bytes(received)} of ${bytes(size)}, ${bytes(durable)} safe on disk`);
    this.#part("received").style.width = `${percent(received)}%`;
    this.#part("durable").style.width = `${percent(durable)}%`;
  }

  #words() {
    const { state, size, received, trouble, retryAt } = this.#upload;
    const whole = size === null ? "" : ` of ${bytes(size)}`;
    switch (state) {
      case "parked":
        return `${bytes(received)}${whole} arrived. Choose the same file to go on${this.#until()}.`;
      case "queued":
        return `${bytes(size)} · waits for its turn`;
      case "connecting":
        return `${bytes(size)} · connects`;
      case "checking":
        return `Checks that the ${bytes(received)} already there are the same`;
      case "sending":
        return `${bytes(received)}${whole}${this.#pace()}`;
      case "finishing":
        return `${bytes(size)} sent · being verified and made safe`;
      case "waiting":
        return `${trouble.words} Next attempt in ${duration((retryAt - Date.now()) / 1000)}.`;
      case "stored":
        return `${bytes(size)} · stored and verified`;
      case "cancelled":
        return trouble ? `Cancelled, but the service does not know that yet. ${trouble.words}` : "Cancelled.";
      default:
        return trouble.words;
    }
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
    const { trouble } = this.#upload;
    const shown = Boolean(trouble?.detail) && !SAID_ALREADY.includes(trouble.code);
    this.#part("detail").hidden = !shown;
    if (!shown) return;
    this.#part("detail-text").textContent = trouble.detail;
    this.#part("code").textContent = trouble.code;
  }

  #link() {
    const { url, receipt } = this.#upload;
    const link = this.#part("link");
    link.hidden = url === null || url === location.pathname;
    if (url) link.href = url;
    link.textContent = receipt ? "Receipt" : "Its own page";
  }

  #receipt() {
    const { receipt, name } = this.#upload;
    this.#part("receipt").hidden = !receipt;
    if (!receipt) return;
    this.#part("sha256").textContent = receipt.sha256;
    this.#part("name").textContent = receipt.name;
    this.#part("renamed").hidden = receipt.name === name;
    this.#part("renamed").textContent = `“${name}” was taken, so it was stored under this name.`;
  }

  /** Selects the digest first: where a page may not write to the clipboard, the keyboard still can. */
  async #copy() {
    getSelection().selectAllChildren(this.#part("sha256"));
    const button = this.element.querySelector("[data-act=copy]");
    const done = await navigator.clipboard?.writeText(this.#upload.receipt.sha256).then(
      () => true,
      () => false,
    );
    label(button, (done ?? document.execCommand("copy")) ? "Copied" : "Selected", this.#upload);
    setTimeout(() => label(button, "Copy", this.#upload), 2000);
  }
}
