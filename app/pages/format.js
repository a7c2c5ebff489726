/** How numbers are said on every page. A no-break space keeps a number and its unit together. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const NBSP = "\u00a0";

/** @param {number} count @returns {string} "1,999" */
export function number(count) {
  return count.toLocaleString("en");
}

/** @param {number} count bytes @returns {string} "512 B", "4.7 MiB", "312 GiB" */
export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit > 0 && value < 100 ? 1 : 0;
  return `${value.toFixed(digits)}${NBSP}${UNITS[unit]}`;
}

/** @param {number} seconds @returns {string} "4 s", "2 min 5 s", "1 h 4 min" */
export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole}${NBSP}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}${NBSP}min ${whole % 60}${NBSP}s`;
  return `${Math.floor(whole / 3600)}${NBSP}h ${Math.floor((whole % 3600) / 60)}${NBSP}min`;
}

/** @param {number} milliseconds @returns {string} "0.8 ms", "42 ms", "1.003 s" */
export function milliseconds(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(3)}${NBSP}s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)}${NBSP}ms`;
}

/** @param {Date} moment @returns {string} "23 Nov, 10:33", the local time */
export function minute(moment) {
  return moment.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

/** @param {Date} moment @returns {string} "10:33:01.234", the local time of day */
export function clock(moment) {
  const two = (number) => String(number).padStart(2, "0");
  const parts = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
  return `${parts}.${String(moment.getMilliseconds()).padStart(3, "0")}`;
}
