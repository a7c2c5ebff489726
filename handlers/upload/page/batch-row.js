/** Many small files as the page shows them: how many are stored, which have failed, and each where it is asked for. */

import { bytes, duration, number } from "../app/format.js";
import { shown } from "../app/names.js";
import { Card } from "./card.js";
import { Listing } from "./listing.js";
import { Rate } from "./rate.js";

const BUTTONS = {
  waiting: ["now", "stop"],
  stopping: [],
  paused: ["again", "stop"],
  stored: ["repeat", "save", "dismiss"],
  failed: ["again", "repeat", "save", "dismiss"],
  cancelled: ["again", "repeat", "save", "dismiss"],
  connecting: ["now", "stop"],
};
const AT_WORK = ["stop"];
const MOST = 500; // failures told one by one

const files = (count) => (count === 1 ? "1 file" : `${number(count)} files`);

export class BatchRow extends Card {
  #batch;
  #path;
  #rate = new Rate();
  #listing;

  /**
   * @param {import("./batch.js").Batch} batch
   * @param {string} path the handler's
   * @param {Record<string, () => void>} actions what its buttons do, by their names; `save` is its own
   */
  constructor(batch, path, actions) {
    super("batch", batch, actions);
    this.#batch = batch;
    this.#path = path;
    this.actions = { ...actions, again: () => this.#again(actions.again), repeat: () => this.#again(actions.repeat), save: () => this.#save() };
    const template = this.part("listing-rows").firstElementChild;
    template.remove();
    const make = () => template.cloneNode(true);
    this.#listing = new Listing(this.part("listing"), batch.files.length, make, (row, index) => this.#file(row, index));
    this.part("listing").setAttribute("aria-label", `All files: ${shown(batch.name)}`);
    this.part("summary").textContent = `All ${files(batch.files.length)}`;
    this.draw();
  }

  fill() {
    const { state, received } = this.#batch;
    if (state === "sending") this.#rate.note(received);
    else this.#rate.reset();
    this.#bar();
    this.part("words").textContent = this.#words();
    this.#notes();
    this.#failures();
    this.#listing.draw();
  }

  get ticking() {
    return ["connecting", "sending", "waiting"].includes(this.#batch.state);
  }

  /** Its state decides first: some of the rest is asked of each file. */
  offers(act) {
    const { state, counts } = this.#batch;
    if (!(BUTTONS[state] ?? AT_WORK).includes(act)) return false;
    if (act === "again") return state === "paused" || this.#batch.repeatable;
    if (act === "repeat") return this.#batch.already > 0;
    if (act === "now") return state !== "connecting" || this.slow;
    return act !== "save" || counts.stored > 0;
  }

  #bar() {
    const { files: all, counts, resting, name } = this.#batch;
    const bar = this.part("bar");
    bar.hidden = resting;
    const percent = (100 * counts.stored) / all.length;
    bar.setAttribute("aria-label", name);
    bar.setAttribute("aria-valuenow", Math.floor(percent));
    bar.setAttribute("aria-valuetext", `${counts.stored} of ${files(all.length)} stored`);
    this.part("durable").style.width = `${percent}%`;
  }

  #words() {
    const { state, size, failure, retryAt, counts } = this.#batch;
    const all = `${files(this.#batch.files.length)} · ${bytes(size)}`;
    switch (state) {
      case "queued":
        return `${all} · Queued`;
      case "connecting":
        return `${this.#stored()} · Connecting…`;
      case "sending":
        return `${this.#stored()}${this.#pace()}`;
      case "waiting":
        return `${this.#stored()}. ${failure.words} Next attempt in ${duration((retryAt - Date.now()) / 1000)}.`;
      case "paused":
        return `${this.#stored()}. ${failure.words} Still to be sent: ${number(counts.queued)}.`;
      case "stopping":
        return `${this.#stored()} · Stopping…`;
      case "stored":
        return `${all} · stored and verified`;
      default:
        return `${this.#stored()} and verified${this.#missing()}`;
    }
  }

  #stored() {
    const { counts, files: all } = this.#batch;
    return `${number(counts.stored)} of ${files(all.length)} stored`;
  }

  #missing() {
    const { failed, cancelled } = this.#batch.counts;
    return `${failed ? ` · ${number(failed)} failed` : ""}${cancelled ? ` · ${number(cancelled)} not sent` : ""}`;
  }

  #pace() {
    const speed = this.#rate.perSecond;
    const { size, received } = this.#batch;
    const sofar = ` · ${bytes(received)} of ${bytes(size)}`;
    return speed ? `${sofar} · ${bytes(speed)}/s · ${duration((size - received) / speed)} left` : sofar;
  }

  #notes() {
    const { renamed, already } = this.#batch.resting ? this.#batch : {};
    const notes = [];
    if (already) notes.push(`${files(already)} had been stored already.`);
    if (renamed) notes.push(`${files(renamed)} stored under another name, because the name was taken.`);
    this.part("notes").hidden = notes.length === 0;
    this.part("notes").textContent = notes.join(" ");
  }

  /** Rows are added as files fail; to begin anew takes all away. */
  #failures() {
    const list = this.part("failures");
    const { failures } = this.#batch;
    const shown = Math.min(failures.size, MOST);
    const fresh = [...failures].slice(list.childElementCount, shown);
    list.append(...fresh.map((file) => failureRow(file, this.#short(file.name))));
    this.part("failed").hidden = failures.size === 0;
    this.part("more").hidden = failures.size <= MOST;
    this.part("more").textContent = `and ${number(failures.size - MOST)} more, in the list of all files`;
  }

  #again(again) {
    this.part("failures").replaceChildren();
    again();
  }

  #file(row, index) {
    const file = this.#batch.files[index];
    const link = row.querySelector(".link");
    row.dataset.state = file.state;
    const name = file.receipt?.name ?? file.name;
    row.title = shown(name);
    const [, folders, base] = shown(this.#short(name)).match(/^(.*\/)?(.*)$/);
    row.querySelector(".file-folder").textContent = folders ?? "";
    row.querySelector(".file-base").textContent = base;
    row.querySelector(".file-words").textContent = words(file);
    link.hidden = !file.receipt;
    if (file.receipt) link.href = `${this.#path}/${file.token}`;
  }

  /** A name without the folder that stands above all of them. */
  #short(name) {
    const { name: folder } = this.#batch;
    return folder.endsWith("/") && name.startsWith(folder) ? name.slice(folder.length) : name;
  }

  /** All digests at once, as `sha256sum --check` reads them. */
  #save() {
    const lines = this.#batch.files.filter(({ receipt }) => receipt).map(({ receipt }) => `${receipt.sha256}  ${receipt.name}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
    link.download = `${this.#batch.name.replace("/", "")}.sha256`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download has begun by then
  }
}

function words({ state, size, failure, renamed, already }) {
  const said = {
    queued: "queued",
    sending: "being sent",
    stored: already ? "already stored" : renamed ? "stored under this name" : "stored",
    failed: failure?.words,
    cancelled: "not sent",
  };
  return `${bytes(size)} · ${said[state]}`;
}

function failureRow({ failure }, name) {
  const row = document.getElementById("failure").content.firstElementChild.cloneNode(true);
  const part = (key) => row.querySelector(`.${key}`);
  row.dataset.code = failure.code;
  part("file-name").textContent = shown(name);
  part("failure-words").textContent = failure.words;
  part("failure-detail").textContent = failure.detail;
  return row;
}
