/**
 * SHA-256 (FIPS 180-4), a piece at a time. The browser's own digest wants a whole file in memory and is
 * missing on plain http; this one has neither limit, so every file can be checked from end to end.
 */

const BLOCK = 64; // bytes

/** The first 32 bits of the fractional part, as the standard defines its constants. */
const fraction = (number) => ((number - Math.floor(number)) * 2 ** 32) | 0;

function primes(count) {
  const found = [];
  for (let candidate = 2; found.length < count; candidate += 1) {
    if (found.every((prime) => candidate % prime)) found.push(candidate);
  }
  return found;
}

const ROUND = Int32Array.from(primes(64), (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(primes(8), (prime) => fraction(Math.sqrt(prime)));

export class Sha256 {
  #state;
  #length;
  #rest = new Uint8Array(BLOCK); // what does not yet make a block: its first `#length % BLOCK` bytes
  #words = new Int32Array(64);

  /**
   * From the beginning, or from a checkpoint.
   * @param {{state: Int32Array, length: number}} from
   */
  constructor({ state, length } = { state: START, length: 0 }) {
    this.#state = state.slice();
    this.#length = length;
  }

  /** How many bytes have come. */
  get length() {
    return this.#length;
  }

  /** Where another Sha256 can go on; only after a whole number of blocks. */
  checkpoint() {
    if (this.#length % BLOCK) throw new RangeError("a checkpoint inside a block");
    return { state: this.#state.slice(), length: this.#length };
  }

  /** @param {Uint8Array} bytes */
  update(bytes) {
    const held = this.#length % BLOCK;
    this.#length += bytes.length;
    let from = 0;
    if (held) {
      from = Math.min(BLOCK - held, bytes.length);
      this.#rest.set(bytes.subarray(0, from), held);
      if (held + from < BLOCK) return;
      this.#compress(this.#rest, 0, BLOCK);
    }
    const end = bytes.length - ((bytes.length - from) % BLOCK);
    this.#compress(bytes, from, end);
    this.#rest.set(bytes.subarray(end));
  }

  /** @returns {string} the digest of all bytes so far, in lower-case hex; more may follow afterwards */
  hex() {
    const held = this.#length % BLOCK;
    const tail = new Uint8Array(held < 56 ? BLOCK : 2 * BLOCK);
    tail.set(this.#rest.subarray(0, held));
    tail[held] = 0x80;
    new DataView(tail.buffer).setBigUint64(tail.length - 8, BigInt(this.#length) * 8n);
    const state = this.#state.slice();
    this.#compress(tail, 0, tail.length);
    const digest = Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    this.#state = state;
    return digest;
  }

  #compress(bytes, from, end) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const words = this.#words;
    for (let offset = from; offset < end; offset += BLOCK) {
      for (let i = 0; i < 16; i += 1) words[i] = view.getInt32(offset + 4 * i);
      schedule(words);
      rounds(this.#state, words);
    }
  }
}

// Plain functions on local variables: written with fields or destructuring this runs three times slower.

function schedule(words) {
  for (let i = 16; i < 64; i += 1) {
    const x = words[i - 15];
    const y = words[i - 2];
    const small = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const large = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    words[i] = (words[i - 16] + small + words[i - 7] + large) | 0;
  }
}

function rounds(state, words) {
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i += 1) {
    const high = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const one = (h + high + (g ^ (e & (f ^ g))) + ROUND[i] + words[i]) | 0;
    const low = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const two = (low + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}
