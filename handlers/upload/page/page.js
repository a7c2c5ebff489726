/** The page: files in, uploads into the queue, rows on the screen, and what this browser remembers. */

import { admitted } from "../app/credentials.js";
import { bytes } from "../app/format.js";
import { shown } from "../app/names.js";
import { BatchRow } from "./batch-row.js";
import { Batch } from "./batch.js";
import { dropped, chosen } from "./files.js";
import { Queue } from "./queue.js";
import { forget, recall, remember } from "./remembered.js";
import { Row } from "./row.js";
import { ask } from "./service.js";
import { SMALL } from "./small-file.js";
import { tokens } from "./token.js";
import { Upload } from "./upload.js";
import { onplain } from "./upgrades.js";

const AT_ONCE = 3;
const DRAWING = 50; // milliseconds between two drawings; a timer, so that a hidden tab's title goes on too
const path = document.documentElement.dataset.path;
const single = location.pathname === path ? null : location.pathname; // the page of one upload
const find = (id) => document.getElementById(id);
const input = find("files");
const folder = find("folder");
const queue = new Queue(AT_ONCE);
const token = await tokens(path);
const batches = new Queue(1); // all small files of a choice go over one socket
const rows = new Map(); // upload or batch → its row
let chosenFor = null; // the upload whose button opened the file dialog

const working = () => [...rows.keys()].filter((work) => !work.resting);
const unfinished = () =>
  [...rows.keys()].filter((work) => work instanceof Upload && !["stored", "cancelled"].includes(work.state));

onplain(() => {
  find("plain").hidden = false;
});

function add(upload) {
  const resume = (ready) => {
    ready();
    queue.add(upload);
  };
  const start = () => resume(() => upload.enqueue());
  const row = new Row(upload, {
    choose: () => choose(upload),
    rechoose: () => choose(upload),
    now: () => upload.hurry(),
    again: start,
    repeat: () => resume(() => upload.repeat()),
    back: start,
    keep: () => upload.keep(),
    trust: () => resume(() => upload.insist()),
    anew: () => resume(() => upload.anew()),
    aside: () => {
      const { file, chosen: name } = upload;
      upload.keep();
      begin([{ file, name, size: file.size }]);
    },
    cancel: () => mayCancel(upload) && upload.cancel(),
    dismiss: () => {
      if (upload.url) forget(path, upload.url);
      dismiss(upload);
    },
  });
  let { url } = upload;
  show(upload, row, () => {
    if (upload.url && upload.url !== url) remember(path, upload);
    if (url && (!upload.url || ["stored", "cancelled"].includes(upload.state))) forget(path, url);
    ({ url } = upload);
  });
  return upload;
}

/** One that this page does not send may be on its way in another tab, or from another program. */
function mayCancel({ state, name, received }) {
  const words = `Cancel “${shown(name)}”? The ${bytes(received)} that have arrived are thrown away, wherever it is sent from.`;
  return state !== "parked" || confirm(words);
}

function addBatch(batch) {
  const resume = (ready) => {
    ready();
    batches.add(batch);
  };
  const row = new BatchRow(batch, path, {
    now: () => batch.hurry(),
    again: () => resume(() => batch.enqueue()),
    repeat: () => resume(() => batch.repeat()),
    stop: () => batch.stop(),
    dismiss: () => dismiss(batch),
  });
  show(batch, row, () => {});
  return batch;
}

/** Keeps the row, the memory and the listener's ear up to date. */
function show(work, row, noticed) {
  rows.set(work, row);
  find("rows").append(row.element);
  let { state } = work;
  let drawing = null;
  const draw = () => {
    drawing = null;
    row.draw();
    survey();
  };
  work.onchange = () => {
    noticed();
    if (work.state !== state) tell(work);
    ({ state } = work);
    drawing ??= setTimeout(draw, DRAWING);
  };
}

function tell({ name, state, failure }) {
  const words = { stored: "stored and verified", cancelled: "cancelled", failed: "some have failed" };
  const said = failure?.words ?? words[state];
  if (said) find("news").textContent = `${shown(name)}: ${said}`;
}

/** What concerns all uploads together: the list's frame and the window's title. */
function survey() {
  find("uploads").hidden = rows.size === 0;
  if (single) headline([...rows.keys()][0]);
  document.title = `${progress()}Upload · Jackfield`;
}

/** Over all files that this page has sent, sends or is to send. */
function progress() {
  const wanted = [...rows.keys()].filter(({ state }) => !["parked", "cancelled"].includes(state));
  if (wanted.length === 0) return "";
  if (wanted.every(({ state }) => state === "stored")) return "✓ Done · ";
  const [received, size] = ["received", "size"].map((key) => wanted.reduce((sum, work) => sum + work[key], 0));
  return size ? `${Math.floor((100 * received) / size)} % · ` : "";
}

function dismiss(work) {
  const { element } = rows.get(work);
  const next = element.nextElementSibling ?? element.previousElementSibling;
  (next?.querySelector("button:not([hidden])") ?? find("choose")).focus();
  element.remove();
  rows.delete(work);
  survey();
}

/** Opens a file dialog, for one upload or for new ones. */
function choose(upload = null) {
  input.multiple = upload === null;
  pick(input, upload);
}

function pick(dialog, upload = null) {
  chosenFor = upload;
  dialog.value = ""; // so that the same file can be chosen twice
  dialog.click();
}

/** Whether a file is, by all that can be told without reading it, the one that upload was begun with. */
const matches = (upload, { file, name, size }) =>
  upload.name === name && upload.size === size && upload.modified === file?.lastModified;

/**
 * Each file goes to the upload it was chosen for, or that waits for it; the others begin new ones.
 * @param {import("./files.js").Found} found
 * @param {Upload | null} target the upload whose button was used
 */
function take({ files, hidden }, target = null) {
  if (single && files.length > 1) return note("This is the address of one file: choose or drop one.");
  const waiting = unfinished();
  const fresh = [];
  let underWay = 0;
  for (const each of files) {
    const upload = target ?? waiting.find((known) => single || matches(known, each));
    if (!upload || isNew(upload, each)) fresh.push(each);
    else if (upload.resting) goOn(upload, each);
    else underWay += 1; // it has its file already
  }
  begin(fresh);
  const said = files.length ? [] : ["There is no file in it."];
  if (hidden.size) said.push(`Hidden files are left out: ${hidden.size}. A name may not begin with a dot.`);
  if (underWay) said.push(`Being sent already: ${underWay}.`);
  note(said.join(" "));
  return survey();
}

/** What the service never knew of can only be tried again with its own file. */
const isNew = (upload, { name }) => !upload.url && !upload.named(name);

/** A file with all that an upload of it begins with. */
function named(found) {
  const modified = found.file?.lastModified ?? 0;
  return { ...found, modified, token: token({ ...found, modified }) };
}

/** Small files go together; one alone is an upload as large ones are. What cannot be read is told among the small. */
function begin(fresh) {
  const [light, heavy] = [true, false].map((small) => fresh.filter(({ size }) => size <= SMALL === small));
  const together = light.length > 1 || light.some(({ failure }) => failure);
  if (together) batches.add(addBatch(new Batch(path, light.map(named))));
  for (const each of (together ? heavy : fresh).map(named)) queue.add(add(new Upload(path, each)));
}

function goOn(upload, found) {
  if (found.failure) return upload.refuse(found.failure);
  upload.offer(found);
  return queue.add(upload); // which leaves it out while it asks
}

function note(words) {
  find("note").hidden = !words;
  find("note").textContent = words;
  if (words) find("news").textContent = words;
}

function listen() {
  find("choose").addEventListener("click", () => choose());
  input.addEventListener("change", () => take(chosen(input.files), chosenFor));
  find("choose-folder").hidden = !("webkitdirectory" in folder); // a telephone may have no folders to choose
  find("choose-folder").addEventListener("click", () => pick(folder));
  folder.addEventListener("change", () => take(chosen(folder.files)));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    find("zone").classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? find("zone").classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    find("zone").classList.remove("over");
    take(await dropped(event.dataTransfer, (count) => note(`Looks through the folders: ${count} files so far.`)));
  });
  addEventListener("online", () => working().forEach((upload) => upload.hurry()));
  addEventListener("beforeunload", (event) => {
    if (working().length) event.preventDefault(); // it could go on later, but only when somebody remembers to
  });
}

/** Uploads that an earlier page has begun: as far as the service still knows them, they wait for their file. */
async function bringBack(memory) {
  const upload = new Upload(path, memory);
  try {
    upload.told(await ask(memory.url));
  } catch (failure) {
    if (!failure.transient) return forget(path, memory.url);
  }
  if (upload.state === "stored") return forget(path, memory.url);
  return add(upload);
}

/** The page of one upload, which may have been begun by any program. */
async function open(url) {
  document.documentElement.dataset.single = "";
  find("zone").hidden = true;
  find("other").hidden = false;
  try {
    const facts = await ask(url);
    add(new Upload(path, { ...facts, url })).told(facts);
  } catch (failure) {
    find("title").textContent = failure.code === "unknown_upload" ? "No such upload" : "An upload";
    find("lead").textContent = failure.words;
  }
}

function headline(upload) {
  if (!upload) return;
  const stored = upload.state === "stored";
  find("title").textContent = stored ? "A stored file" : "An upload";
  find("lead").textContent = stored
    ? "This is its receipt."
    : "Choose its file, or drop it here, to go on with it. Whoever has this address can do that.";
}

if (!single) await admitted();
listen();
if (single) await open(single);
else await Promise.all(recall(path).map(bringBack));
survey();
document.documentElement.dataset.ready = ""; // for those who drive the page: it has looked at what there was
