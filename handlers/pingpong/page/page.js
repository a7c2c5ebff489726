/** The page: opens the socket, answers its pings, and shows what happens as it happens. */

import { clock, milliseconds } from "../app/format.js";
import { admitted, subprotocols } from "../app/credentials.js";
import { meaning, socketUrl } from "../app/socket.js";
import { Chart } from "./chart.js";
import { roundTrip } from "./trip.js";

const MOST_EVENTS = 500;
const find = (id) => document.getElementById(id);
const [start, stop, status, events] = ["start", "stop", "status", "events"].map(find);
const chart = new Chart(find("chart"));

/** Adds a line to the list of events and keeps its end in view, unless the reader has scrolled up. */
function show(kind, words, manner = kind) {
  const following = events.scrollHeight - events.scrollTop - events.clientHeight < 40;
  const now = new Date();
  const line = document.createElement("li");
  line.className = manner;
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = clock(now);
  const name = document.createElement("b");
  name.textContent = kind;
  const text = document.createElement("span");
  text.textContent = words;
  line.append(time, name, text);
  events.append(line);
  if (events.childElementCount > MOST_EVENTS) events.firstElementChild.remove();
  if (following) events.scrollTop = events.scrollHeight;
}

function say(state, words) {
  status.dataset.state = state;
  status.textContent = words;
  const connected = state === "connecting" || state === "open";
  const [able, unable] = connected ? [stop, start] : [start, stop];
  able.disabled = false;
  if (document.activeElement === unable) able.focus(); // a disabled button would lose the keyboard's place
  unable.disabled = true;
}

function median(numbers) {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted.length % 2
    ? sorted[(sorted.length - 1) / 2]
    : (sorted[sorted.length / 2 - 1] + sorted[sorted.length / 2]) / 2;
}

/** One game on one socket; `performance.now()` is the clock for all its times. */
class Game {
  #url = socketUrl(document.documentElement.dataset.path);
  #socket = new WebSocket(this.#url, subprotocols());
  #began = performance.now();
  #ponged; // when the last pong was sent
  #waits = []; // from each pong to the ping after it, the service's pause included
  #rounds = [];
  #stopped = false;

  constructor() {
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#heard(data);
    this.#socket.onerror = () => show("error", "the browser keeps the reason to itself", "failed");
    this.#socket.onclose = (event) => this.#closed(event);
    say("connecting", "Connecting…");
    this.#figures();
    find("opened").textContent = "–";
    chart.draw(this.#rounds);
  }

  stop() {
    this.#stopped = true;
    show("close", "asked for by Stop", "sent");
    this.#socket.close(1000, "stopped");
  }

  #opened() {
    const took = milliseconds(performance.now() - this.#began);
    find("opened").textContent = took;
    say("open", "Connected");
    show("open", `${this.#url} in ${took}`);
  }

  #heard(data) {
    const now = performance.now();
    if (data !== "ping") {
      show("message", typeof data === "string" ? `“${data}”, which is no ping: not answered` : "binary: not answered");
      return;
    }
    const wait = this.#ponged === undefined ? undefined : now - this.#ponged;
    this.#socket.send("pong");
    this.#ponged = performance.now();
    show("message", wait === undefined ? "ping" : `ping, ${milliseconds(wait)} after our pong`);
    show("sent", "pong");
    this.#count(wait);
  }

  #count(wait) {
    const round = { number: this.#rounds.length + 1 };
    this.#rounds.push(round);
    if (wait !== undefined) {
      this.#waits.push(wait);
      // This wait ended the round before: it is that one's ping which came late.
      const quickest = Math.min(...this.#waits);
      this.#waits.forEach((each, index) => (this.#rounds[index].late = each - quickest));
    }
    this.#draw();
    roundTrip().then((trip) => {
      round.trip = trip;
      this.#draw();
    });
  }

  #draw() {
    if (game !== this) return; // a probe that comes home after the next game has begun
    chart.draw(this.#rounds);
    this.#figures();
  }

  #figures() {
    const trips = this.#rounds.map(({ trip }) => trip).filter((trip) => trip !== undefined);
    find("rounds").textContent = this.#rounds.length || "–";
    find("median").textContent = trips.length ? milliseconds(median(trips)) : "–";
    find("pace").textContent = this.#waits.length ? milliseconds(Math.min(...this.#waits)) : "–";
  }

  #closed({ code, reason, wasClean }) {
    const well = code === 1000 && (this.#stopped || reason === "done");
    const words = [String(code), reason || meaning(code)].filter(Boolean).join(" ");
    show("close", wasClean ? words : `${words} (without a closing handshake)`, well ? "done" : "failed");
    say(well ? "done" : "failed", this.#stopped ? "Stopped" : `Closed: ${words}`);
    start.textContent = "Start again";
  }
}

await admitted();
let game;
start.addEventListener("click", () => (game = new Game()));
stop.addEventListener("click", () => game.stop());
