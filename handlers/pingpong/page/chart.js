/** The drawing: one place a round, its round trip as a dot on a line, its lateness as a hollow diamond. */

import { milliseconds } from "../app/format.js";

const LABEL = new Intl.NumberFormat("en", { style: "unit", unit: "millisecond", maximumFractionDigits: 1 });
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 10, right: 8, bottom: 24, left: 58 };
const FEWEST_PLACES = 10;
const MOST_ROUNDS = 120; // older ones leave on the left
const SMALLEST_TOP = 1; // milliseconds; below that there is only the clock's own grain to see

/** A round step of 1, 2 or 5 times a power of ten that reaches `highest` in at most four of them. */
function stepFor(highest) {
  const rough = Math.max(highest, SMALLEST_TOP) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export class Chart {
  #place;
  #rounds = [];

  /** @param {HTMLElement} place the element to draw in; its size is followed */
  constructor(place) {
    this.#place = place;
    new ResizeObserver(() => this.draw(this.#rounds)).observe(place);
  }

  /** @param {{number: number, trip?: number, late?: number}[]} rounds times in milliseconds */
  draw(rounds) {
    this.#rounds = rounds.slice(-MOST_ROUNDS);
    const { clientWidth: width, clientHeight: height } = this.#place;
    if (width === 0) return;
    const times = this.#rounds.flatMap(({ trip, late }) => [trip, late]).filter((time) => time !== undefined);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.#words(times) });
    const scale = this.#scale(width, height, Math.max(0, ...times));
    svg.append(...this.#axes(scale, width), ...this.#trips(scale), ...this.#lates(scale));
    this.#place.replaceChildren(svg);
  }

  #words(times) {
    if (times.length === 0) return "No round trips yet";
    const trips = this.#rounds.map(({ trip }) => trip).filter((trip) => trip !== undefined);
    if (trips.length === 0) return `${this.#rounds.length} rounds, no round trip measured`;
    const range = `${milliseconds(Math.min(...trips))} to ${milliseconds(Math.max(...trips))}`;
    return `Round trips of ${trips.length} rounds: ${range}`;
  }

  #scale(width, height, highest) {
    const step = stepFor(highest);
    const top = step * Math.max(1, Math.ceil(Math.max(highest, SMALLEST_TOP) / step));
    const first = this.#rounds[0]?.number ?? 1;
    const places = Math.max(FEWEST_PLACES, this.#rounds.length);
    const floor = height - MARGIN.bottom;
    return {
      step,
      top,
      first,
      places,
      floor,
      x: (number) => MARGIN.left + ((number - first + 0.5) / places) * (width - MARGIN.left - MARGIN.right),
      y: (time) => floor - (time / top) * (floor - MARGIN.top),
    };
  }

  #axes({ step, top, first, places, floor, x, y }, width) {
    const parts = [];
    for (let time = 0; time <= top * 1.001; time += step) {
      const line = { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(time), y2: y(time) };
      const label = { x: MARGIN.left - 10, y: y(time) + 4, "text-anchor": "end" };
      parts.push(shape("line", line), shape("text", label, LABEL.format(time)));
    }
    const every = Math.ceil(places / 12);
    for (let number = first; number < first + places; number += every) {
      parts.push(shape("text", { x: x(number), y: floor + 18, "text-anchor": "middle" }, number));
    }
    return parts;
  }

  #trips({ x, y }) {
    const known = this.#rounds.filter(({ trip }) => trip !== undefined);
    const points = known.map(({ number, trip }) => `${x(number)},${y(trip)}`).join(" ");
    const dots = known.map(({ number, trip }) => shape("circle", { class: "trip", cx: x(number), cy: y(trip), r: 4 }));
    return [shape("polyline", { class: "line", points }), ...dots];
  }

  #lates({ x, y }) {
    return this.#rounds
      .filter(({ late }) => late !== undefined)
      .map(({ number, late }) => {
        const [left, up] = [x(number), y(late)];
        return shape("path", { class: "late", d: `M${left} ${up - 5}l5 5-5 5-5-5z` });
      });
  }
}
