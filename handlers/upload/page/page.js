/** The page: files in, uploads into the queue, rows on the screen, and what this browser remembers. */

import { dropped, chosen } from "./files.js";
import { Queue } from "./queue.js";
import { forget, recall, remember } from "./remembered.js";
import { Row } from "./row.js";
import { ask } from "./service.js";
import { Trouble } from "./trouble.js";
import { Upload } from "./upload.js";

const AT_ONCE = 3;
const DRAWING = 50; // milliseconds between two drawings; a timer, so that a hidden tab's title goes on too
const path = document.documentElement.dataset.path;
const single = location.pathname === path ? null : location.pathname; // the page of one upload
const find = (id) => document.getElementById(id);
const input = find("files");
const queue = new Queue(AT_ONCE);
const uploads = new Map(); // upload → its row
let chosenFor = null; // the upload whose button opened the file dialog

const working = () => [...uploads.keys()].filter((upload) => !upload.resting);
const unfinished = () => [...uploads.keys()].filter(({ state }) => state !== "stored" && state !== "cancelled");

function add(upload) {
  const start = () => {
    upload.enqueue();
    queue.add(upload);
  };
  const row = new Row(upload, {
    choose: () => choose(upload),
    now: () => upload.hurry(),
    again: start,
    back: start,
    cancel: () => upload.cancel(),
    dismiss: () => dismiss(upload),
  });
  uploads.set(upload, row);
  find("rows").append(row.element);
  follow(upload, row);
  return upload;
}

/** Keeps the row, the memory and the listener's ear up to date. */
function follow(upload, row) {
  let { state, url } = upload;
  let drawing = null;
  const draw = () => {
    drawing = null;
    row.draw();
    survey();
  };
  upload.onchange = () => {
    if (upload.url && upload.url !== url) remember(path, upload);
    if (url && (!upload.url || ["stored", "cancelled"].includes(upload.state))) forget(path, url);
    if (upload.state !== state) tell(upload);
    ({ state, url } = upload);
    drawing ??= setTimeout(draw, DRAWING);
  };
}

function tell({ name, state, trouble }) {
  const words = { stored: "stored and verified", cancelled: "cancelled" }[state] ?? trouble?.words;
  if (words) find("news").textContent = `${name}: ${words}`;
}

/** What concerns all uploads together: the list's frame and the window's title. */
function survey() {
  const busy = working();
  find("uploads").hidden = uploads.size === 0;
  if (single) headline([...uploads.keys()][0]);
  const [received, size] = ["received", "size"].map((key) => busy.reduce((sum, upload) => sum + upload[key], 0));
  const percent = size ? `${Math.floor((100 * received) / size)} % · ` : "";
  document.title = `${percent}Upload · Jackfield`;
}

function dismiss(upload) {
  const { element } = uploads.get(upload);
  if (upload.url) forget(path, upload.url);
  const next = element.nextElementSibling ?? element.previousElementSibling;
  (next?.querySelector("button:not([hidden])") ?? find("choose")).focus();
  element.remove();
  uploads.delete(upload);
  survey();
}

function choose(upload = null) {
  chosenFor = upload;
  input.multiple = upload === null;
  input.value = ""; // so that the same file can be chosen twice
  input.click();
}

/** Whether a file is, by all that can be told without reading it, the one that upload was begun with. */
const matches = (upload, { file, name }) =>
  upload.name === name && upload.size === file.size && upload.modified === file.lastModified;

/** Each file goes to the upload it was chosen for, or that waits for it, or begins a new one. */
function take(named) {
  const waiting = unfinished();
  for (const each of named) {
    const upload = chosenFor ?? waiting.find((known) => single || matches(known, each));
    if (!upload) start(each);
    else if (upload.resting && upload.state !== "stored") goOn(upload, each.file); // one at work has its file already
  }
  survey();
}

function start({ file, name }) {
  queue.add(add(new Upload(path, { file, name, size: file.size, modified: file.lastModified })));
}

function goOn(upload, file) {
  if (upload.size !== null && upload.size !== file.size) {
    const detail = `It is another file: it has ${file.size} bytes, and this upload wants ${upload.size}.`;
    upload.refuse(new Trouble("other_file", detail));
    tell(upload);
    return;
  }
  upload.enqueue(file);
  queue.add(upload);
}

function listen() {
  find("choose").addEventListener("click", () => choose());
  input.addEventListener("change", () => take(chosen(input.files)));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    find("zone").classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? find("zone").classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    find("zone").classList.remove("over");
    chosenFor = null;
    try {
      take(await dropped(event.dataTransfer));
    } catch (error) {
      find("zone-words").textContent = find("news").textContent = `That could not be read: ${error.message}`;
    }
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
  } catch (trouble) {
    if (!trouble.passing) return forget(path, memory.url);
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
  } catch (trouble) {
    find("title").textContent = trouble.code === "unknown_upload" ? "No such upload" : "An upload";
    find("lead").textContent = trouble.words;
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

listen();
if (single) await open(single);
else await Promise.all(recall(path).map(bringBack));
survey();
document.documentElement.dataset.ready = ""; // for those who drive the page: it has looked at what there was
