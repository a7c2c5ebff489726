/** The files of a drop or a choice, each with the name it is to be stored under. */

/**
 * @typedef {{file: File, name: string}} Named
 * @param {FileList} list @returns {Named[]}
 */
export function chosen(list) {
  return [...list].map((file) => named(file, file.webkitRelativePath || file.name));
}

/**
 * Folders are walked; hidden files in them (`.DS_Store`) are left out, the service would refuse their names.
 * @param {DataTransfer} transfer of a drop @returns {Promise<Named[]>}
 */
export async function dropped(transfer) {
  // The list is emptied when the event is over: take everything out of it before the first wait.
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) {
    if (entry instanceof File) found.push(named(entry, entry.name));
    else if (entry) found.push(...(await walk(entry, "")));
  }
  return found;
}

async function walk(entry, folder) {
  const name = folder + entry.name;
  if (entry.isFile) return [named(await new Promise((...both) => entry.file(...both)), name)];
  const found = [];
  for (const child of await children(entry)) {
    if (!child.name.startsWith(".")) found.push(...(await walk(child, `${name}/`)));
  }
  return found;
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

/** Some systems take accents apart (NFD); the service wants names in NFC. */
function named(file, name) {
  return { file, name: name.normalize("NFC") };
}
