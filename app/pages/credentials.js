/**
 * Who uses the page: the secret of a token, from the fragment of a link for guests, or asked for where the service
 * wants one. It is kept for this tab alone, and stands in no address that a request carries.
 */

import { deferred } from "./deferred.js";

const KEY = "jackfield.token";
const root = document.documentElement;
let secret = fromFragment() ?? kept();
let asking = null; // settled when somebody has given one

function fromFragment() {
  if (location.hash.length < 2) return null;
  const found = decodeURIComponent(location.hash.slice(1));
  history.replaceState(history.state, "", location.pathname + location.search);
  keep(found);
  return found;
}

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // a browser that stores nothing
  }
}

function keep(found) {
  try {
    sessionStorage.setItem(KEY, found);
  } catch {
    // it is known until the page is left
  }
}

/** @returns {Record<string, string>} headers for a request */
export function authorization() {
  return secret ? { Authorization: `Bearer ${secret}` } : {};
}

/** @param {string[]} own @returns {string[]} subprotocols for a socket, which can have no headers */
export function subprotocols(...own) {
  if (!secret) return own;
  const coded = btoa(String.fromCharCode(...new TextEncoder().encode(secret)));
  return [...own, "bearer", `bearer.${coded.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`];
}

/** Until whoever uses the page is let in, or nobody need be named. */
export async function admitted() {
  if (root.dataset.token === "needed" && !(secret && (await refusal()) === null)) await ask();
}

/** A request with `used`, what `authorization` gave, was answered 401. Until there is another secret. */
export async function refused(used) {
  if (used.Authorization === authorization().Authorization) await ask();
}

/** @returns {Promise<string | null>} why the service does not take the secret; null where it does, or is away */
async function refusal() {
  try {
    const headers = { Accept: "application/json", ...authorization() };
    const { status } = await fetch(root.dataset.path, { headers, cache: "no-store" });
    if (status === 401) return "The service does not know this token, or it has expired.";
    if (status === 403) return "This token does not open this page.";
  } catch {
    // whoever needs the service will say that it cannot be reached
  }
  return null;
}

function ask() {
  asking ??= askOnce().finally(() => (asking = null));
  return asking;
}

async function askOnce() {
  const { promise, resolve } = deferred();
  const form = document.createElement("form");
  form.className = "panel token";
  const tags = ["label", "input", "input", "button", "p"];
  const [label, name, input, button, words] = tags.map((tag) => document.createElement(tag));
  label.textContent = "This service wants to know who you are. Your token:";
  Object.assign(name, { name: "username", value: "token", autocomplete: "username", hidden: true }); // for managers
  Object.assign(input, { type: "password", name: "token", required: true, autocomplete: "current-password" });
  Object.assign(button, { type: "submit", className: "primary", textContent: "Go on" });
  words.setAttribute("role", "alert");
  label.append(input);
  form.append(name, label, button, words);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    secret = input.value.trim();
    words.textContent = (await refusal()) ?? "";
    if (!words.textContent) resolve();
  });
  document.querySelector("main").append(form);
  root.dataset.asking = "";
  input.focus();
  await promise;
  keep(secret);
  form.remove();
  delete root.dataset.asking;
}
