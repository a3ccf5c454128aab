// The charts of a run: which metrics, their values from the API and then from the socket, zoom, smoothing, axes.
// The store holds every step once, however often it arrives, so a reconnect can simply read again.

const { say, now } = window.anneal;
const POINTS = 1500;
const COMPACT_AT = 6000;
const ROWS_PAGE = 500;
const TIME_SAMPLES = 24;
const FIRST_PICKS = [/(^|[/_])loss$/, /reward.*mean|score.*mean/, /kl/, /grad_norm/, /(^|\/)lr$|learning_rate/, /throughput|tokens|mfu/, /time/];
const DEFAULT_CHARTS = 4;

class Series {
  steps = [];
  values = [];
  lows = [];
  highs = [];
  odd = new Map();

  // `value`: a number, "NaN" or an infinity as text, or null. Steps come in any order; the last word counts.
  put(step, value, low, high) {
    const finite = typeof value === "number" ? value : null;
    if (typeof value === "string") this.odd.set(step, value);
    else this.odd.delete(step);
    const last = this.steps.length - 1;
    let at = last + 1;
    if (last >= 0 && step <= this.steps[last]) {
      let from = 0;
      at = last;
      while (from < at) {
        const middle = (from + at) >> 1;
        if (this.steps[middle] < step) from = middle + 1;
        else at = middle;
      }
    }
    const known = this.steps[at] === step ? 1 : 0;
    this.steps.splice(at, known, step);
    this.values.splice(at, known, finite);
    this.lows.splice(at, known, typeof low === "number" ? low : finite);
    this.highs.splice(at, known, typeof high === "number" ? high : finite);
  }
}

function seriesOf(points, odd = []) {
  const made = new Series();
  for (const [step, value, low, high] of points) made.put(step, value, low, high);
  for (const [step, value] of odd) made.odd.set(step, value);
  return made;
}

class Monitor {
  names = [];
  chosen = [];
  series = new Map();
  zoomed = null;
  range = null;
  resolution = 1;
  total = 0;
  cursor = null;
  read = null;
  segments = [];
  smoothing = 0;
  axis = "step";
  scale = "linear";
  times = null;
  picked = false;
  failures = 0;

  constructor(section) {
    this.section = section;
    this.url = section.dataset.metrics;
    this.started = Date.parse(section.dataset.started) || null;
    this.charts = section.querySelector("[data-charts]");
    this.empty = section.querySelector("[data-charts-empty]");
    this.chooser = section.querySelector("[data-chooser]");
    this.restore();
    this.wire();
    this.load();
  }

  // --- Memory: what was chosen for this recipe ---------------------------------------------------------------

  get key() { return `anneal.metrics.${this.section.dataset.memory}`; }

  restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.key) ?? "null");
      if (Array.isArray(kept?.chosen)) [this.chosen, this.picked] = [kept.chosen.map(String), true];
      this.smoothing = Math.min(0.98, Math.max(0, Number(kept?.smoothing) || 0));
      if (kept?.scale === "log") this.scale = "log";
    } catch { /* no storage, or not ours: the defaults do */ }
  }

  remember() {
    try {
      localStorage.setItem(this.key, JSON.stringify({ chosen: this.picked ? this.chosen : null, smoothing: this.smoothing, scale: this.scale }));
    } catch { /* a private window forgets */ }
  }

  // --- Reading -----------------------------------------------------------------------------------------------

  async get(query = "", path = "") {
    const response = await fetch(`${this.url}${path}${query}`, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`${response.status} ${this.url}`);
    return response.json();
  }

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

  async fill(names, from = null) {
    const wanted = names.filter((name) => this.names.includes(name));
    if (!wanted.length) return;
    const query = new URLSearchParams({ names: wanted.join(","), points: POINTS });
    if (from !== null) query.set("start_step", from);
    const answer = await this.get(`?${query}`);
    this.resolution = answer.resolution;
    this.known(answer);
    for (const [name, points] of Object.entries(answer.series)) {
      this.series.set(name, seriesOf(points, answer.non_finite?.[name]));
    }
  }

  // What the socket says: {name: [[step, value]]}.
  take(points) {
    this.add(Object.keys(points));
    let crowded = false;
    let missing = [];
    for (const [name, line] of Object.entries(points)) {
      const series = this.series.get(name);
      if (!series) {
        // A metric that is shown but was never read: the socket has only what came since.
        if (this.chosen.includes(name)) missing.push(name);
        continue;
      }
      for (const [step, value] of line) series.put(step, value);
      crowded ||= series.steps.length > COMPACT_AT;
      const last = line.at(-1)?.[0];
      if (this.times && this.started && last > (this.times.steps.at(-1) ?? -1)) {
        this.times.steps.push(last);
        this.times.seconds.push((now() - this.started) / 1000);
      }
    }
    if (missing.length || crowded) this.load();
    this.draw();
  }

  // --- Zoom --------------------------------------------------------------------------------------------------

  async zoom(range) {
    this.range = range;
    this.zoomed = null;
    this.draw();
    if (!range || this.resolution <= 1 || this.axis !== "step") return;
    const query = new URLSearchParams({
      names: this.chosen.join(","), points: POINTS, start_step: Math.max(0, Math.floor(range[0])), end_step: Math.ceil(range[1]),
    });
    try {
      const answer = await this.get(`?${query}`);
      if (this.range !== range) return;
      this.zoomed = new Map(Object.entries(answer.series).map(([name, points]) => [name, seriesOf(points, answer.non_finite?.[name])]));
      this.draw();
    } catch { /* the coarse curve stays */ }
  }

  // --- Time axis: the API's rows have the trainer's clock; long runs are sampled and interpolated ---------------

  async readTimes() {
    const steps = [];
    const seconds = [];
    const take = ({ results }) => {
      for (const row of results) {
        if (row.time === null || row.step <= (steps.at(-1) ?? -1)) continue;
        steps.push(row.step);
        seconds.push(row.time);
      }
    };
    const parts = this.segments.filter((part) => part.first_step !== null);
    const first = Math.min(...parts.map((part) => part.first_step));
    const last = Math.max(...parts.map((part) => part.last_step));
    if (this.total <= ROWS_PAGE) take(await this.get(`?limit=${ROWS_PAGE}`, "rows/"));
    else {
      const at = Array.from({ length: TIME_SAMPLES + 1 }, (_, i) => Math.round(first + ((last - first) * i) / TIME_SAMPLES));
      for (const answer of await Promise.all(at.map((step) => this.get(`?start_step=${step}&limit=1`, "rows/")))) take(answer);
    }
    const start = this.started ? this.started / 1000 : seconds[0];
    this.times = { steps, seconds: seconds.map((at) => Math.max(0, at - start)) };
  }

  timeOf(step) {
    const { steps, seconds } = this.times;
    if (!steps.length) return step;
    let high = steps.findIndex((known) => known >= step);
    if (high < 0) high = steps.length - 1;
    const low = Math.max(0, high - 1);
    if (steps[high] === steps[low]) return seconds[high];
    return seconds[low] + ((step - steps[low]) * (seconds[high] - seconds[low])) / (steps[high] - steps[low]);
  }

  // --- Drawing -----------------------------------------------------------------------------------------------

  draw() {
    const shown = this.chosen.filter((name) => this.names.includes(name));
    for (const chart of [...this.charts.querySelectorAll("metric-chart")]) {
      if (!shown.includes(chart.getAttribute("name"))) chart.remove();
    }
    shown.forEach((name, i) => {
      let chart = this.charts.querySelector(`metric-chart[name="${CSS.escape(name)}"]`);
      if (!chart) {
        chart = document.createElement("metric-chart");
        chart.setAttribute("name", name);
        chart.setAttribute("colour", String((i % 6) + 1));
      }
      const there = this.charts.querySelectorAll("metric-chart")[i];
      if (there !== chart) this.charts.insertBefore(chart, there ?? null);
      chart.show(this.view((this.zoomed ?? this.series).get(name) ?? new Series(), name));
    });
    this.empty.hidden = shown.length > 0;
    this.section.querySelector("[data-chosen]").textContent = String(shown.length);
    this.section.querySelector("[data-reset-zoom]").hidden = !this.range;
  }

  view(series, name) {
    const onTime = this.axis === "time" && this.times;
    const x = onTime ? series.steps.map((step) => this.timeOf(step)) : series.steps;
    const marks = this.segments.slice(1).map((part) => part.resumed_from ?? part.first_step).filter((step) => step !== null);
    return {
      ...series, x, range: this.range, smoothing: this.smoothing, scale: this.scale, axis: onTime ? "time" : "step",
      marks: onTime ? marks.map((step) => this.timeOf(step)) : marks,
      findings: findings(name).map(({ from, to, severity }) => ({ from: onTime ? this.timeOf(from) : from, to: onTime ? this.timeOf(to) : to, severity })),
    };
  }

  note(text) {
    let line = this.section.querySelector("[data-note]");
    if (!line && text) {
      line = document.createElement("p");
      line.dataset.note = "";
      line.className = "error";
      this.charts.before(line);
    }
    if (line) line.textContent = text;
  }

  // --- Controls ----------------------------------------------------------------------------------------------

  choices() {
    const groups = Map.groupBy ? Map.groupBy(this.names, group) : byGroup(this.names);
    this.chooser.replaceChildren(...[...groups].map(([title, names]) => {
      const set = document.createElement("fieldset");
      set.className = "chooser-group";
      const legend = document.createElement("legend");
      legend.textContent = title;
      set.append(legend, ...names.map((name) => {
        const label = document.createElement("label");
        label.className = "check";
        const box = document.createElement("input");
        box.type = "checkbox";
        box.value = name;
        box.checked = this.chosen.includes(name);
        const code = document.createElement("code");
        code.textContent = name;
        label.append(box, code);
        return label;
      }));
      return set;
    }));
  }

  wire() {
    const { section } = this;
    this.chooser.addEventListener("change", async ({ target }) => {
      this.picked = true;
      this.chosen = target.checked ? [...this.chosen, target.value] : this.chosen.filter((name) => name !== target.value);
      this.remember();
      this.draw();
      if (target.checked && !this.series.has(target.value)) await this.load();
    });
    const slider = section.querySelector("[data-smoothing]");
    slider.value = String(this.smoothing);
    slider.nextElementSibling.textContent = String(this.smoothing);
    slider.addEventListener("input", () => {
      this.smoothing = Number(slider.value);
      slider.nextElementSibling.textContent = String(this.smoothing);
      this.remember();
      this.draw();
    });
    this.toggle("[data-scale]", this.scale, (value) => {
      this.scale = value;
      this.remember();
      this.draw();
    });
    this.toggle("[data-axis]", this.axis, async (value) => {
      this.range = this.zoomed = null;
      if (value === "time") await this.readTimes().catch(() => { this.times = null; });
      this.axis = value;
      this.draw();
    });
    // A finding leads to its steps, with some room around them, in a chart of its metric.
    document.addEventListener("click", async (event) => {
      const link = event.target.closest?.("a[data-window]");
      if (!link) return;
      const [from, to] = link.dataset.window.split(" ").map(Number);
      const name = link.dataset.metricName;
      if (this.names.includes(name) && !this.chosen.includes(name)) {
        this.chosen = [...this.chosen, name];
        this.choices();
        await this.load();
      }
      const room = Math.max(10, (to - from) / 2);
      if (this.axis === "step") this.zoom([Math.max(0, from - room), to + room]);
    });
    new MutationObserver(() => this.draw()).observe(document.querySelector("#job-findings"), { childList: true, subtree: true, attributeFilter: ["data-to", "data-severity"] });
    const line = section.querySelector("[data-connection]");
    section.addEventListener("chartzoom", ({ detail }) => this.zoom(detail));
    section.querySelector("[data-reset-zoom]").addEventListener("click", () => this.zoom(null));
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
    document.addEventListener("htmx:ws:after:connection", () => tell("live"));
    document.addEventListener("htmx:ws:close", ({ detail }) => {
      if (detail.reason !== "closed") return;
      tell("reconnecting");
    });
  }

  toggle(selector, value, act) {
    const box = this.section.querySelector(selector);
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

const group = (name) => (name.includes("/") ? name.split("/")[0] : say("other"));

// What the doctor found in a metric, as the page lists it.
function findings(name) {
  return [...document.querySelectorAll(`#job-findings [data-metric="${CSS.escape(name)}"]`)].map(({ dataset }) => ({
    from: Number(dataset.from), to: Number(dataset.to), severity: dataset.severity,
  }));
}

function byGroup(names) {
  const groups = new Map();
  for (const name of names) groups.set(group(name), [...(groups.get(group(name)) ?? []), name]);
  return groups;
}

function defaults(names) {
  const picks = FIRST_PICKS.flatMap((pattern) => names.filter((name) => pattern.test(name)));
  return [...new Set([...picks, ...names])].slice(0, DEFAULT_CHARTS);
}

// The socket's messages come as this element's attribute: a fragment like every other, and no script in it.
class MetricFeed extends HTMLElement {
  static observedAttributes = ["points", "cursor"];
  #waiting = false;

  // A morph sets one attribute after the other: the message is whole when it is done.
  attributeChangedCallback() {
    if (this.#waiting || !this.getAttribute("points")) return;
    this.#waiting = true;
    queueMicrotask(() => {
      this.#waiting = false;
      const points = JSON.parse(this.getAttribute("points"));
      const cursor = Number(this.getAttribute("cursor"));
      dispatchEvent(new CustomEvent("points", { detail: { points, cursor, reset: this.hasAttribute("reset") } }));
    });
  }
}

const section = document.querySelector("[data-monitor]");
if (section) new Monitor(section);
customElements.define("metric-feed", MetricFeed);
