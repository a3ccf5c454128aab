// The charts of a run: which metrics, their values from the API and then from the socket, and what is looked at: the
// run as it goes on, a part of its past, or the run played back. What not every visit needs is loaded when asked for.

import { defaults } from "./first-charts.js";
import "./metric-feed.js";
import { filled, near } from "./near.js";
import { Series, seriesIn } from "./series.js";

const { say, now, announce } = window.anneal;
const POINTS = 1500;
const COMPACT_AT = 6000;

class Monitor {
  names = [];
  chosen = [];
  series = new Map();
  tails = new Map();
  marks = [];
  player = null;
  zoomed = null;
  range = null;
  newer = 0;
  resolution = 1;
  total = 0;
  last = null;
  cursor = null;
  read = null;
  segments = [];
  smoothing = 0;
  axis = "step";
  scale = "linear";
  columns = 2;
  times = null;
  picked = false;
  failures = 0;
  kept = Promise.resolve();

  constructor(section) {
    this.section = section;
    this.url = section.dataset.metrics;
    this.started = Date.parse(section.dataset.started) || null;
    this.charts = this.find("charts");
    this.empty = this.find("charts-empty");
    this.chooser = this.find("chooser");
    this.restore();
    this.wire();
    this.load();
  }

  find(name) { return this.section.querySelector(`[data-${name}]`); }

  // --- Memory: how this recipe's runs are looked at ------------------------------------------------------------

  restore() {
    const kept = JSON.parse(this.section.dataset.layout);
    if (kept.charts) [this.chosen, this.picked] = [kept.charts, true];
    ({ smoothing: this.smoothing, scale: this.scale, axis: this.axis, columns: this.columns } = kept);
  }

  // One after the other, so that the last one stays.
  remember() {
    this.kept = this.kept.then(async () => (await import("./chart-layout.js")).keep(this))
      .catch(() => { /* it is remembered as long as the page is open */ });
  }

  // --- Reading -----------------------------------------------------------------------------------------------

  get = async (query = "", path = "") => {
    const response = await fetch(`${this.url}${path}${query}`, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`${response.status} ${this.url}`);
    return response.json();
  };

  // Everything that is shown, as the database has it now.
  async load() {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      const about = await this.get();
      this.known(about);
      this.read = about.cursor;
      await this.fill(this.chosen);
      await this.attempts();
      if (this.axis === "time" && !this.times) await this.readTimes();
      this.failures = 0;
      this.note("");
    } catch {
      this.failures += 1;
      this.note(say("metrics-failed"));
      setTimeout(() => this.load(), Math.min(30_000, 1000 * 2 ** this.failures));
    } finally {
      this.loading = false;
      this.draw();
    }
    if (this.again) {
      this.again = false;
      this.load();
    }
  }

  known({ names = [], segments, total_steps: total, cursor }) {
    this.segments = segments ?? this.segments;
    this.last = Math.max(...this.segments.map((part) => part.last_step ?? -1), -1);
    this.total = total ?? this.total;
    this.cursor = cursor ?? this.cursor;
    this.add(names);
  }

  add(names) {
    const fresh = names.filter((name) => !this.names.includes(name));
    if (!fresh.length) return;
    this.names = [...this.names, ...fresh].sort();
    if (!this.picked) this.chosen = defaults(this.names);
    this.choices();
  }

  async fill(names) {
    const wanted = names.filter((name) => this.names.includes(name));
    if (!wanted.length) return;
    const answer = await this.get(`?${new URLSearchParams({ names: wanted.join(","), points: POINTS })}`);
    this.resolution = answer.resolution;
    this.known(answer);
    for (const [name, series] of seriesIn(answer)) this.series.set(name, series);
  }

  // Most runs have one attempt, and nothing to tell of it.
  async attempts() {
    if (this.segments.length < 2) return;
    const { marksOf, readTails, drawAttempts } = await import("./segments.js");
    this.drawAttempts = drawAttempts;
    this.marks = marksOf(this.segments);
    this.tails = await readTails(this.get, this.segments, this.chosen);
  }

  async readTimes() {
    const { readTimes } = await import("./time-axis.js");
    this.times = await readTimes(this.get, this.segments, this.total, this.started && this.started / 1000);
  }

  // What the socket says: {name: [[step, value]]}.
  take(points) {
    this.add(Object.keys(points));
    let crowded = false;
    let missing = false;
    const fresh = new Set();
    for (const [name, line] of Object.entries(points)) {
      for (const [step] of line) if (step > this.last) fresh.add(step);
      const series = this.series.get(name);
      if (!series) {
        // A metric that is shown but was never read: the socket has only what came since.
        missing ||= this.chosen.includes(name);
        continue;
      }
      for (const [step, value] of line) series.put(step, value);
      crowded ||= series.steps.length > COMPACT_AT;
      if (this.started) this.times?.push(line.at(-1)?.[0], (now() - this.started) / 1000);
    }
    this.last = Math.max(this.last, ...fresh);
    this.newer += fresh.size;
    if (missing || crowded) this.load();
    // Whoever looks at the past is not moved on.
    else if (this.range) this.history();
    else if (!this.player) this.draw();
  }

  whole(name) { return (this.zoomed ?? this.series).get(name) ?? new Series(); }

  // --- The past: a range, finer than the whole ---------------------------------------------------------------

  async zoom(range) {
    this.range = range;
    this.zoomed = this.records = null;
    this.newer = 0;
    this.draw();
    if (range) this.past ??= await import("./past.js");
    this.history();
    if (range && this.range === range) await this.past.look(this, POINTS);
  }

  stepsOf([from, to]) {
    const steps = this.axis === "time" && this.times ? [this.times.stepAt(from), this.times.stepAt(to)] : [from, to];
    return [Math.max(0, Math.ceil(steps[0])), Math.max(0, Math.floor(steps[1]))];
  }

  history() {
    this.find("history").hidden = !this.range || Boolean(this.player);
    // What stands still is not live.
    this.find("connection")?.toggleAttribute("hidden", Boolean(this.range || this.player));
    if (this.range) this.past?.tell(this);
  }

  // --- Played back -------------------------------------------------------------------------------------------

  async play() {
    if (this.player || !this.total) return;
    this.player = { series: this.series };
    if (this.records === 0) this.range = null;
    const [start, end] = this.range ? this.stepsOf(this.range) : [];
    const { Player } = await import("./playback.js");
    this.player = new Player(this, this.find("player"), { start, end });
    this.history();
    const button = this.find("play");
    if (document.activeElement === button) this.find("pause").focus({ preventScroll: true });
    button.hidden = true;
    announce(say("playing"));
  }

  stop(why = "") {
    const held = this.find("player").contains(document.activeElement);
    this.player?.close();
    this.player = null;
    this.find("play").hidden = false;
    this.note(why);
    this.zoom(null);
    if (held) this.find("play").focus({ preventScroll: true });
  }

  // --- Drawing -----------------------------------------------------------------------------------------------

  draw() {
    const shown = this.chosen.filter((name) => this.names.includes(name));
    for (const chart of [...this.charts.querySelectorAll("metric-chart")]) {
      if (!shown.includes(chart.getAttribute("name"))) chart.remove();
    }
    const source = this.player?.series ?? this.zoomed ?? this.series;
    shown.forEach((name, i) => {
      let chart = this.charts.querySelector(`metric-chart[name="${CSS.escape(name)}"]`);
      if (!chart) {
        chart = document.createElement("metric-chart");
        chart.setAttribute("name", name);
        chart.setAttribute("colour", String((i % 6) + 1));
      }
      const there = this.charts.querySelectorAll("metric-chart")[i];
      if (there !== chart) this.charts.insertBefore(chart, there ?? null);
      chart.show(this.view(source.get(name) ?? new Series(), name));
    });
    this.charts.dataset.shown = String(this.columns);
    this.empty.hidden = shown.length > 0;
    this.find("chosen").textContent = String(shown.length);
  }

  get place() { return this.axis === "time" && this.times ? (step) => this.times.at(step) : (step) => step; }

  view(series, name) {
    const { place } = this;
    return {
      ...series, x: series.steps.map(place), range: this.range ?? this.player?.range?.map(place), smoothing: this.smoothing,
      scale: this.scale, axis: this.times ? this.axis : "step",
      under: (plot, colours) => {
        this.findings?.draw(plot, name);
        if (this.marks.length) this.drawAttempts(plot, {
          marks: this.marks.map(({ step, attempt }) => ({ x: place(step), label: say("attempt-n", { n: attempt }) })),
          // Played back, the past is as it was told then.
          tails: this.player ? [] : (this.tails.get(name) ?? []).map(({ steps, values }) => ({ x: steps.map(place), values })),
        }, colours);
      },
    };
  }

  note(text) {
    let line = this.find("note");
    if (!line && text) {
      line = document.createElement("p");
      line.dataset.note = "";
      line.className = "error";
      this.charts.before(line);
    }
    if (line) line.textContent = text;
  }

  // --- Controls ----------------------------------------------------------------------------------------------

  async choices() {
    if (!this.chooser.closest("details").open) return;
    const { fillChooser } = await import("./chart-choice.js");
    fillChooser(this.chooser, {
      names: this.names,
      chosen: this.chosen,
      choose: (names, preset) => this.choose(names, preset),
    });
  }

  async choose(names, preset) {
    this.picked = true;
    const fresh = names.filter((name) => !this.series.has(name));
    this.chosen = names;
    this.remember();
    this.draw();
    await this.choices();
    if (preset) this.chooser.querySelector(`[data-preset="${preset}"]`)?.focus();
    if (this.range) this.zoom(this.range);
    if (fresh.length) await this.load();
  }

  wire() {
    const { section } = this;
    this.chooser.closest("details").addEventListener("toggle", () => this.choices());
    const slider = this.find("smoothing");
    slider.value = String(this.smoothing);
    slider.nextElementSibling.textContent = String(this.smoothing);
    slider.addEventListener("input", () => {
      this.smoothing = Number(slider.value);
      slider.nextElementSibling.textContent = String(this.smoothing);
      this.draw();
    });
    slider.addEventListener("change", () => this.remember());
    const setting = (name, act = (value) => { this[name] = value; }) => this.toggle(this.find(name), String(this[name]), async (value) => {
      await act(value);
      this.remember();
      this.draw();
    });
    setting("scale");
    setting("columns", (value) => { this.columns = Number(value); });
    setting("axis", async (value) => {
      if (value === "time") await this.readTimes().catch(() => { this.times = null; });
      const steps = this.range && this.stepsOf(this.range);
      this.axis = value;
      if (steps) this.zoom(this.past.around(steps, this.place));
    });
    const line = this.find("connection");
    section.addEventListener("chartzoom", ({ detail }) => { if (!this.player) this.zoom(detail); });
    this.find("reset-zoom").addEventListener("click", () => this.zoom(null));
    this.find("play").addEventListener("click", () => this.play());
    addEventListener("points", ({ detail }) => {
      this.cursor = Math.max(this.cursor ?? 0, detail.cursor);
      // Without points it is the socket's beginning: what was logged between our reading and that is read again.
      const begins = !Object.keys(detail.points).length;
      if (detail.reset || (begins && !(this.read >= detail.cursor))) this.load();
      else this.take(detail.points);
    });
    addEventListener("reconnected", () => this.load());
    // The last values are read before a run is called finished: they are there by now.
    addEventListener("statuschange", ({ detail }) => {
      this.load();
      if (["completed", "failed", "cancelled"].includes(detail)) line?.remove();
    });
    document.addEventListener("htmx:ws:before:connection", ({ detail }) => {
      if (this.cursor === null || !detail.connection.url.includes("/live/")) return;
      const url = new URL(detail.connection.url);
      url.searchParams.set("cursor", this.cursor);
      detail.connection.url = url.href;
    });
    const tell = (key) => { if (line) line.textContent = say(key); };
    if (document.documentElement.dataset.live === "on") tell("live");
    document.addEventListener("htmx:ws:after:connection", () => tell("live"));
    document.addEventListener("htmx:ws:close", ({ detail }) => { if (detail.reason === "closed") tell("reconnecting"); });
  }

  toggle(box, value, act) {
    const press = (chosen) => {
      for (const button of box.querySelectorAll("button")) button.ariaPressed = String(button.value === chosen);
    };
    press(value);
    box.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      press(button.value);
      act(button.value);
    });
  }
}

const monitor = new Monitor(document.querySelector("[data-monitor]"));
filled(document.querySelector("#job-findings"), async (list) => {
  const { Findings } = await import("./findings.js");
  monitor.findings = new Findings(monitor, list);
});
import("./monitor-keys.js").then(({ listen }) => listen(monitor));
near(document.querySelector("[data-machine]"), () => import("./machine.js"));
near(document.querySelector("[data-log]"), () => import("./log-view.js"));
