/** The digests of one file at whatever offsets are asked for, away from the page's own thread. */

import { Sha256 } from "./sha256.js";

const STRIDE = 8 * 1024 * 1024; // bytes between two checkpoints, and read at once
const checkpoints = new Map();
let file;

/** Hashes the first `offset` bytes, beginning at the last checkpoint before them. */
async function digest(offset) {
  const known = checkpoints.get(Math.floor(offset / STRIDE) * STRIDE) ?? newestBelow(offset);
  const hash = new Sha256(known);
  while (hash.length < offset) {
    const end = Math.min(offset, hash.length + STRIDE);
    hash.update(new Uint8Array(await file.slice(hash.length, end).arrayBuffer()));
    if (hash.length % STRIDE === 0) checkpoints.set(hash.length, hash.checkpoint());
    postMessage({ hashed: hash.length });
  }
  return hash.hex();
}

function newestBelow(offset) {
  const lengths = [...checkpoints.keys()].filter((length) => length <= offset);
  return lengths.length ? checkpoints.get(Math.max(...lengths)) : undefined;
}

onmessage = async ({ data }) => {
  if (data.file) {
    file = data.file;
    checkpoints.clear();
    return;
  }
  try {
    postMessage({ offset: data.offset, digest: await digest(data.offset) });
  } catch (error) {
    postMessage({ offset: data.offset, error: error.message });
  }
};
