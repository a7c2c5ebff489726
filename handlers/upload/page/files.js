/** The files of a drop or a choice, each with the name it is to be stored under. */

import { Failure } from "./failure.js";

/**
 * The size is asked for once: Chromium looks at the disk each time.
 * @typedef {{name: string, file?: File, size: number, nth?: number, failure?: Failure}} Named
 *   `nth` of those that have its name, from 0; without a file: why it cannot be read
 */

/**
 * What was found. Hidden files in folders (`.DS_Store`) are left out: the service would refuse their names.
 */
export class Found {
  /** @type {Named[]} */
  files = [];
  hidden = new Set(); // names: files, and folders that were not looked into
  #alike = new Map(); // name → how many files of that name there are

  file(name, file) {
    const composed = name.normalize("NFC"); // some systems take accents apart (NFD)
    const nth = this.#alike.get(composed) ?? 0;
    this.#alike.set(composed, nth + 1);
    this.files.push({ name: composed, file, size: file.size, nth });
  }

  /** In the order people expect: "2.jpg" before "10.jpg". */
  sorted() {
    const { compare } = new Intl.Collator(undefined, { numeric: true });
    this.files.sort((one, other) => compare(one.name, other.name));
    return this;
  }

  unreadable(name, error) {
    this.files.push({ name: name.normalize("NFC"), size: 0, failure: new Failure("unreadable", error.message) });
  }
}

/** @param {FileList} list @returns {Found} */
export function chosen(list) {
  const found = new Found();
  for (const file of list) {
    const name = file.webkitRelativePath || file.name;
    const hidden = name.match(/^.+?\/\.[^/]*/)?.[0];
    if (hidden) found.hidden.add(hidden);
    else found.file(name, file);
  }
  return found.sorted();
}

/**
 * Folders are walked.
 * @param {DataTransfer} transfer of a drop
 * @param {(count: number) => void} sofar called now and then with how many files there are
 * @returns {Promise<Found>}
 */
export async function dropped(transfer, sofar) {
  // The list is emptied when the event is over: take everything out of it before the first wait.
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = new Found();
  for (const entry of entries) {
    if (entry instanceof File) found.file(entry.name, entry);
    else if (entry) await walk(entry, "", found, sofar);
  }
  return found.sorted();
}

async function walk(entry, folder, found, sofar) {
  const name = folder + entry.name;
  try {
    if (entry.isFile) found.file(name, await new Promise((...both) => entry.file(...both)));
    else await within(await children(entry), `${name}/`, found, sofar);
  } catch (error) {
    found.unreadable(name, error);
  }
}

/** The files of a folder are opened together, since each takes the browser a while; its folders come one by one. */
async function within(entries, folder, found, sofar) {
  const [hidden, open] = [true, false].map((dot) => entries.filter(({ name }) => name.startsWith(".") === dot));
  for (const { name } of hidden) found.hidden.add(folder + name);
  await Promise.all(open.filter(({ isFile }) => isFile).map((entry) => walk(entry, folder, found, sofar)));
  sofar(found.files.length);
  for (const entry of open.filter(({ isFile }) => !isFile)) await walk(entry, folder, found, sofar);
}

/** A reader gives a hundred or so at a time, and then an empty list. */
async function children(entry) {
  const reader = entry.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((...both) => reader.readEntries(...both));
    if (some.length === 0) return all;
    all.push(...some);
  }
}
