/** The uploads this browser has begun and not finished, so that a page loaded anew can go on with them. */

const key = (path) => `jackfield ${path}`;

/**
 * @typedef {{name: string, size: number, modified: number, url: string}} Memory
 * @param {string} path the handler's
 * @returns {Memory[]} the service may have forgotten some of them meanwhile
 */
export function recall(path) {
  try {
    return JSON.parse(localStorage.getItem(key(path))) ?? [];
  } catch {
    return []; // no storage here, or not ours: then nothing is remembered
  }
}

/** @param {string} path @param {Memory} memory */
export function remember(path, { name, size, modified, url }) {
  write(path, [...others(path, url), { name, size, modified, url }]);
}

/** @param {string} path @param {string} url of the upload */
export function forget(path, url) {
  write(path, others(path, url));
}

function others(path, url) {
  return recall(path).filter((memory) => memory.url !== url);
}

function write(path, memories) {
  try {
    localStorage.setItem(key(path), JSON.stringify(memories));
  } catch {
    // Full or forbidden: uploads work without it, they only cannot outlive the page.
  }
}
