/** A list of any length in a box that scrolls: there are only as many rows as can be seen. All have one height. */

const SPARE = 4; // rows above and below those in sight

export class Listing {
  #box;
  #rows;
  #make;
  #fill;
  #length;
  #height = 0; // of one row, in pixels; 0 while it is not known

  /**
   * @param {HTMLElement} box that scrolls, with an empty list in it
   * @param {number} length
   * @param {() => HTMLElement} make a row
   * @param {(row: HTMLElement, index: number) => void} fill it with what stands there
   */
  constructor(box, length, make, fill) {
    this.#box = box;
    this.#rows = box.firstElementChild;
    this.#make = make;
    this.#fill = fill;
    this.#length = length;
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(box);
  }

  draw() {
    if (!this.#height) return; // it is not shown
    const first = Math.max(0, Math.floor(this.#box.scrollTop / this.#height) - SPARE);
    const last = Math.min(this.#length, first + Math.ceil(this.#box.clientHeight / this.#height) + 2 * SPARE);
    this.#rows.style.paddingBlock = `${first * this.#height}px ${(this.#length - last) * this.#height}px`;
    this.#have(last - first);
    [...this.#rows.children].forEach((row, index) => this.#place(row, first + index));
  }

  #place(row, index) {
    row.setAttribute("aria-posinset", index + 1);
    row.setAttribute("aria-setsize", this.#length);
    this.#fill(row, index);
  }

  #have(count) {
    while (this.#rows.childElementCount > count) this.#rows.lastElementChild.remove();
    while (this.#rows.childElementCount < count) this.#rows.append(this.#make());
  }

  /** The style says how high a row is: it depends on the width and on the size of the type. */
  #measure() {
    this.#have(1);
    this.#fill(this.#rows.firstElementChild, 0);
    this.#height = this.#rows.firstElementChild.offsetHeight;
    this.draw();
  }
}
