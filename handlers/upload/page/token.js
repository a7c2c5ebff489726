/**
 * The tokens of this browser's uploads. The same file gets the same one, also after the page was loaded anew, so
 * that to create it again is safe: what is stored already is not stored twice. Nobody else can guess one: they
 * are made with a secret that does not leave this browser.
 */

import { Sha256 } from "./sha256.js";

const BLOCK = 64; // bytes, of HMAC with SHA-256 (RFC 2104)
const LENGTH = 40; // characters: 160 bits

/**
 * @param {string} path the handler's
 * @returns {Promise<(file: {name: string, size: number, modified: number, nth?: number}) => string>} gives a file its
 *   token; `nth` tells files apart that are alike in all else
 */
export async function tokens(path) {
  const secret = await kept().catch(() => random()); // without a storage it holds as long as the page does
  const service = new URL(path, location.href).href;
  return ({ name, size, modified, nth = 0 }) => hmac(secret, JSON.stringify([service, name, size, modified, nth]));
}

/** A token for a file that is to be sent although one like it was sent before. */
export const freshToken = () => hmac(random(), "");

const random = () => crypto.getRandomValues(new Uint8Array(32));

/** Not by the browser's own HMAC: on plain http it is missing, and for a text as short as this it is slower. */
function hmac(secret, text) {
  const pad = (value) => Uint8Array.from({ length: BLOCK }, (_, at) => (secret[at] ?? 0) ^ value);
  const inner = sha256(pad(0x36), new TextEncoder().encode(text));
  const bytes = Uint8Array.from(inner.match(/../g), (pair) => parseInt(pair, 16));
  return sha256(pad(0x5c), bytes).slice(0, LENGTH);
}

function sha256(...pieces) {
  const hash = new Sha256();
  for (const piece of pieces) hash.update(piece);
  return hash.hex();
}

/** The secret in this browser's database, made when it is first asked for: one for all tabs. */
async function kept() {
  const opening = indexedDB.open("jackfield", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("secrets");
  const database = await done(opening);
  const store = database.transaction("secrets", "readwrite").objectStore("secrets");
  const known = await done(store.get("token"));
  const secret = known ?? random();
  if (!known) await done(store.put(secret, "token"));
  database.close();
  return secret;
}

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
