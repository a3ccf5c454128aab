// A run played back: the socket sends each step in the time it took, and the charts are drawn up to it.
// The server's messages come as <playback-feed message points>, and where it is, in words, as a fragment.

const { announce, say } = window.anneal;
const COMPACT_AT = 4000;
const RETRY_MS = [500, 1000, 2000, 4000];

// What the charts show meanwhile; `monitor` has the whole curves and draws.
export class Player {
  series = new Map();
  #socket = null;
  #step = null;
  #tape = null;
  #failures = 0;
  #retry = 0;

  constructor(monitor, bar, { start = null, end = null } = {}) {
    this.monitor = monitor;
    this.bar = bar;
    this.from = start;
    this.to = end;
    this.seekBar = bar.querySelector("[data-seek]");
    this.speedBox = bar.querySelector("[data-speed]");
    this.pauseButton = bar.querySelector("[data-pause]");
    const { signal } = (this.leaving = new AbortController());
    this.pauseButton.addEventListener("click", () => this.toggle(), { signal });
    this.speedBox.addEventListener("change", () => this.say({ action: "speed", speed: Number(this.speedBox.value) }), { signal });
    this.seekBar.addEventListener("change", () => this.seek(Number(this.seekBar.value)), { signal });
    bar.querySelector("[data-stop]").addEventListener("click", () => monitor.stop(), { signal });
    bar.hidden = false;
    this.show(false);
    this.connect();
  }

  get range() { return this.#tape && [this.#tape.start_step, this.#tape.end_step]; }

  // --- The line ------------------------------------------------------------------------------------------------

  connect() {
    const url = new URL(this.monitor.section.dataset.playback, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const query = { start_step: this.from, end_step: this.to, speed: this.speedBox.value };
    for (const [name, value] of Object.entries(query)) if (value !== null) url.searchParams.set(name, value);
    const socket = (this.#socket = new WebSocket(url));
    socket.addEventListener("message", ({ data }) => this.take(data));
    socket.addEventListener("open", () => {
      this.#failures = 0;
      if (this.#step !== null) this.seek(this.#step);
      if (this.paused) this.say({ action: "pause" });
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket !== this.#socket) return;
      // 44xx: the server said why, and would say so again.
      if (code >= 4400 || this.#failures >= RETRY_MS.length) this.monitor.stop(say("playback-failed"));
      else this.#retry = setTimeout(() => this.connect(), RETRY_MS[this.#failures++]);
    });
  }

  say(action) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(action));
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#retry);
    this.leaving.abort();
    socket.close();
    this.bar.hidden = true;
  }

  // --- What comes ----------------------------------------------------------------------------------------------

  take(text) {
    if (!this.#socket) return;
    const { content } = Object.assign(document.createElement("template"), { innerHTML: text });
    const feed = content.querySelector("playback-feed");
    const message = JSON.parse(feed?.getAttribute("message") ?? "{}");
    const place = content.querySelector("hx-partial");
    if (place) document.querySelector(place.getAttribute("hx-target"))?.replaceWith(...place.children);
    if (message.type === "meta") this.begin(message);
    else if (message.type === "metrics") this.add(JSON.parse(feed.getAttribute("points")));
    else if (message.type === "progress") this.place(message);
    else if (message.type === "end") this.end();
  }

  begin(meta) {
    if (this.#tape) return;
    this.#tape = meta;
    this.seekBar.min = String(meta.start_step ?? 0);
    this.seekBar.max = String(meta.end_step ?? 0);
    this.cut(meta.start_step ?? 0);
  }

  // The curves up to a step, as the page has them: at a long run these are buckets.
  cut(step) {
    this.#step = step;
    for (const name of this.monitor.chosen) this.series.set(name, this.monitor.whole(name).before(step));
    this.place({ step });
    this.monitor.draw();
  }

  add(points) {
    for (const name of this.monitor.chosen) {
      const line = points[name];
      if (!line) continue;
      let series = this.series.get(name);
      if (!series || series.steps.length > COMPACT_AT) {
        series = this.monitor.whole(name).before(line[0][0]);
        this.series.set(name, series);
      }
      for (const [step, value] of line) series.put(step, value);
      this.#step = Math.max(this.#step, line.at(-1)[0]);
    }
    this.place({ step: this.#step });
    this.monitor.draw();
  }

  place({ step, reset }) {
    if (reset) this.cut(step);
    // Whoever drags the bar has it to themselves.
    if (!this.seekBar.matches(":active")) this.seekBar.value = String(step);
    this.seekBar.ariaValueText = say("step-n", { step });
  }

  end() {
    this.say({ action: "pause" });
    this.show(true);
    announce(say("playback-ended"));
  }

  // --- What the reader does -----------------------------------------------------------------------------------

  seek(step) {
    this.cut(step);
    this.say({ action: "seek", step });
  }

  toggle() {
    const ended = this.paused && this.#step >= this.#tape?.end_step;
    if (ended) this.seek(this.#tape.start_step);
    this.say({ action: this.paused ? "resume" : "pause" });
    this.show(!this.paused);
    announce(say(this.paused ? "paused" : "playing"));
  }

  show(paused) {
    this.paused = paused;
    this.pauseButton.querySelector("[data-when-paused]").hidden = !paused;
    this.pauseButton.querySelector("[data-when-playing]").hidden = paused;
  }

  faster(by) {
    const { options } = this.speedBox;
    this.speedBox.selectedIndex = Math.min(options.length - 1, Math.max(0, this.speedBox.selectedIndex + by));
    this.say({ action: "speed", speed: Number(this.speedBox.value) });
    announce(say("speed-n", { speed: this.speedBox.value }));
  }

  key(key) {
    if (key === " ") this.toggle();
    else this.faster(key === "]" ? 1 : -1);
  }
}
