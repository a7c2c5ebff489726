/** A panel in the list that shows one piece of work: what all such panels have in common. */

import { shown } from "../app/names.js";

const SLOW = 2000; // milliseconds of connecting, after which a person may want to hurry it

/** Many have the same buttons: to those who cannot see the panel, each says whose it is. */
function label(button, words, { name }) {
  button.textContent = words;
  button.setAttribute("aria-label", `${words}: ${shown(name)}`);
}

export class Card {
  element;
  #work;
  #buttons;
  #tick = null;

  /**
   * @param {string} template the id of its template
   * @param {{name: string, state: string, since: number, failure: import("./failure.js").Failure | null}} work what it
   *   shows
   * @param {Record<string, () => void>} actions what its buttons do, by their names
   */
  constructor(template, work, actions) {
    this.#work = work;
    this.actions = actions;
    this.element = document.getElementById(template).content.firstElementChild.cloneNode(true);
    this.part("name").textContent = shown(work.name);
    this.#buttons = [...this.element.querySelectorAll("button")];
    for (const button of this.#buttons) {
      label(button, button.textContent, work);
      // The second click of a double one is meant for the button that was there before.
      button.addEventListener("click", ({ detail }) => detail > 1 || this.actions[button.dataset.act]());
    }
  }

  /** The element of this class in it. */
  part(name) {
    return this.element.querySelector(`.${name}`);
  }

  /** What one of its buttons says from now on. */
  button(act, words) {
    label(this.element.querySelector(`[data-act=${act}]`), words, this.#work);
  }

  draw() {
    const held = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.element.dataset.state = this.#work.state;
    this.element.dataset.code = this.#work.failure?.code ?? "";
    this.#follow();
    this.fill();
    for (const button of this.#buttons) button.hidden = !this.offers(button.dataset.act);
    // A button that went away under the keyboard hands its place to the next one.
    if (held?.hidden) this.element.querySelector("button:not([hidden])")?.focus();
  }

  /** Shows what only this kind of panel has. */
  fill() {}

  /** Whether its words change although nothing happens. */
  get ticking() {
    return false;
  }

  /** Whether it has been in its state for so long that a person may want to hurry it. */
  get slow() {
    return Date.now() - this.#work.since >= SLOW;
  }

  /** @param {string} act the name of a button @returns {boolean} whether there is a use for it now */
  offers(act) {
    return act in this.actions;
  }

  #follow() {
    if (this.ticking) this.#tick ??= setInterval(() => this.draw(), 1000);
    else if (this.#tick) this.#tick = clearInterval(this.#tick);
  }
}
