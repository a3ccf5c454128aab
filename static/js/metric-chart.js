// <metric-chart name="train/loss">: one metric, drawn by uPlot. It knows nothing of where values come from:
// whoever fills it calls `show(view)`, with
//   view.x        number[]                    steps, or seconds since the start
//   view.steps    number[]                    the step of each point
//   view.values, view.lows, view.highs        (number | null)[]; null where the logged value was not finite
//   view.odd      Map<step, "NaN" | …>        those values
//   view.range    [min, max] | null           what is zoomed to
//   view.under    (plot, colours) => void     what else is drawn, below the line: {line, muted, faint}
//   view.where    (i) => text                 what to call a point; without: its step
//   view.smoothing 0-0.98, view.scale "linear" | "log", view.axis "step" | "time"
//   view.bounds   [min, max]                  of the upright axis
// Events: `chartzoom` {detail: [min, max] | null} after a brush or a double click.

const { say } = window.anneal;
const SYNC = "charts";
let scales;

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// light-dark() is resolved only where it is used as a colour: a probe asks for it.
const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
function colour(name) {
  probe.setAttribute("data-probe", name);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
const fade = (rgb, alpha) => rgb.replace(/^rgba?\(([^)]+)\)/, (_, parts) => `rgb(${parts.split(/[ ,/]+/).slice(0, 3).join(" ")} / ${alpha})`);

function format(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return Number(value.toPrecision(4)).toExponential();
  return String(Number(value.toPrecision(4)));
}

const whole = (tick) => (tick % 1 ? "" : tick.toLocaleString(document.documentElement.lang));
const special = ({ axis, range, scale, smoothing }) => range || smoothing > 0 || axis === "time" || scale === "log";

// The first and the last point of what is looked at; the other way round where none lies there.
function shown({ x, range }) {
  const [from, to] = range ?? [-Infinity, Infinity];
  const low = x.findIndex((at) => at >= from);
  return [low < 0 ? x.length : low, x.findLastIndex((at) => at <= to)];
}

class MetricChart extends HTMLElement {
  #view = null;
  #plot = null;
  #shape = "";
  #at = -1;
  #frame = 0;

  connectedCallback() {
    if (this.firstChild) return;
    const name = this.getAttribute("name");
    this.insertAdjacentHTML("beforeend", `<div class="chart-head"><h3></h3><p class="chart-read"></p></div>
      <div class="chart-area" tabindex="0" role="slider" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0"></div>
      <details class="chart-data"><summary></summary><div class="scroll" tabindex="0" role="region"></div></details>`);
    this.querySelector("h3").textContent = name;
    this.querySelector("summary").textContent = say("data");
    this.querySelector(".scroll").setAttribute("aria-label", `${name}: ${say("data")}`);
    const area = this.querySelector(".chart-area");
    area.setAttribute("aria-label", say("chart-help", { name }));
    area.addEventListener("keydown", (event) => this.#key(event));
    area.addEventListener("blur", () => this.#point(-1));
    this.querySelector("details").addEventListener("toggle", () => this.#table());
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(area);
    this.retheme = () => this.#rebuild();
    addEventListener("themechange", this.retheme);
  }

  disconnectedCallback() {
    this.observer?.disconnect();
    removeEventListener("themechange", this.retheme);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#plot?.destroy();
    this.#plot = null;
  }

  async show(view) {
    this.#view = view;
    if (special(view)) scales ??= await import("./chart-scales.js");
    // Many pushes between two frames are one drawing.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const view = this.#view;
    if (!view || !this.isConnected || (special(view) && !scales)) return;
    const bands = view.lows.some((low, i) => low !== view.values[i] || view.highs[i] !== view.values[i]);
    const negative = view.lows.some((low) => low !== null && low <= 0);
    const shape = [bands, view.smoothing > 0, view.scale, negative, view.axis].join();
    if (!this.#plot || shape !== this.#shape) {
      this.#shape = shape;
      this.#build(bands, negative);
    }
    this.#plot.setData(this.#data(bands), false);
    this.#plot.batch(() => {
      const [first, last] = view.range ?? [view.x[0] ?? 0, view.x.at(-1) ?? 1];
      this.#plot.setScale("x", { min: first, max: last > first ? last : first + 1 });
    });
    const area = this.querySelector(".chart-area");
    area.ariaValueMin = String(view.steps[0] ?? 0);
    area.ariaValueMax = String(view.steps.at(-1) ?? 0);
    this.#read();
    if (this.querySelector("details").open) this.#table();
  }

  #data(bands) {
    const { x, values, lows, highs, smoothing } = this.#view;
    const data = [x, values];
    if (smoothing > 0) data.push(scales.smoothed(values, smoothing));
    if (bands) data.push(highs, lows);
    return data;
  }

  #rebuild() {
    this.#shape = "";
    this.#draw();
  }

  #build(bands, negative) {
    this.#plot?.destroy();
    const area = this.querySelector(".chart-area");
    const view = this.#view;
    const line = colour(`--chart-${this.getAttribute("colour") || 1}`);
    const muted = colour("--muted");
    const hair = colour("--hair");
    const smoothing = view.smoothing > 0;
    const series = [{}, { stroke: smoothing ? fade(line, 0.35) : line, width: smoothing ? 1 : 1.75, spanGaps: false, points: { show: (plot, s, from, to) => to - from < 40, size: 5, fill: line, stroke: line } }];
    if (smoothing) series.push({ stroke: line, width: 2, points: { show: false } });
    if (bands) series.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
    const axis = { stroke: muted, font: `11px ${token("--sans")}`, grid: { stroke: hair, width: 1 }, ticks: { stroke: hair, width: 1, size: 4 } };
    const distr = view.scale === "log" ? (negative ? 4 : 3) : 1;
    this.#plot = new uPlot({
      width: Math.max(50, area.clientWidth),
      height: Math.max(50, area.clientHeight),
      legend: { show: false },
      padding: [8, view.axis === "time" ? 24 : 8, 0, 0],
      scales: { x: { time: false }, y: { distr, ...(distr === 3 && scales.logScale), ...(view.bounds && { range: () => view.bounds }) } },
      series,
      bands: bands ? [{ series: [series.length - 2, series.length - 1], fill: fade(line, 0.16) }] : [],
      axes: [
        { ...axis, size: 28, space: 60, values: (_, ticks) => scales?.stepLabels(ticks, whole) ?? ticks.map(whole), ...(view.axis === "time" && scales.timeAxis) },
        { ...axis, size: 58, space: 34, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))), ...(distr === 3 && scales.logAxis) },
      ],
      cursor: {
        sync: { key: this.getAttribute("sync") ?? SYNC, setSeries: false, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        points: { size: 7, fill: line },
        focus: { prox: -1 },
      },
      hooks: {
        setSelect: [(plot) => this.#brush(plot)],
        setCursor: [(plot) => this.#point((plot.cursor.left ?? -1) < 0 ? -1 : plot.cursor.idx ?? -1)],
        drawClear: [(plot) => this.#view.under?.(plot, { line, muted, faint: fade(line, 0.6) })],
        ready: [(plot) => {
          plot.over.addEventListener("dblclick", (event) => {
            event.stopImmediatePropagation();
            this.dispatchEvent(new CustomEvent("chartzoom", { bubbles: true, detail: null }));
          }, true);
        }],
      },
    }, this.#data(bands), area);
  }

  #brush(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    // The brush of one chart is drawn on its neighbours too; only the one under the pointer speaks.
    if (plot.cursor.event) this.dispatchEvent(new CustomEvent("chartzoom", { bubbles: true, detail: range }));
  }

  #resize() {
    const area = this.querySelector(".chart-area");
    const size = { width: Math.max(50, area.clientWidth), height: Math.max(50, area.clientHeight) };
    if (this.#plot && (size.width !== this.#plot.width || size.height !== this.#plot.height)) this.#plot.setSize(size);
  }

  // --- Reading points --------------------------------------------------------------------------------------

  #key(event) {
    const view = this.#view;
    if (!view?.x.length) return;
    const [low, high] = shown(view);
    const from = this.#at < 0 ? high : this.#at;
    const jump = Math.max(1, Math.round((high - low) / 10));
    const to = {
      ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: this.#at < 0 ? high : from + 1, ArrowUp: from + 1,
      PageDown: from - jump, PageUp: from + jump, Home: low, End: high,
    }[event.key];
    if (event.key === "Escape") {
      this.dispatchEvent(new CustomEvent("chartzoom", { bubbles: true, detail: null }));
      return;
    }
    if (to === undefined || low > high) return;
    event.preventDefault();
    event.stopPropagation();
    const at = Math.min(high, Math.max(low, to));
    const left = this.#plot.valToPos(view.x[at], "x");
    const top = view.values[at] === null ? 0 : this.#plot.valToPos(view.values[at], "y");
    this.#plot.setCursor({ left, top });
    this.#point(at);
  }

  #point(at) {
    if (at === this.#at || !this.#view) return;
    this.#at = at;
    this.#read();
  }

  #read() {
    const view = this.#view;
    const read = this.querySelector(".chart-read");
    if (!view.x.length) {
      read.textContent = "";
      return;
    }
    const picked = this.#at >= 0 && this.#at < view.x.length;
    const [low, high] = shown(view);
    const area = this.querySelector(".chart-area");
    if (!picked && low > high) {
      read.textContent = "";
      area.ariaValueText = say("nothing-here");
      return;
    }
    const at = picked ? this.#at : high;
    const step = view.steps[at];
    const value = view.values[at] ?? view.odd.get(step) ?? null;
    const text = format(value);
    const place = view.where ? view.where(at) : say("step-n", { step });
    const strong = document.createElement("b");
    strong.textContent = text;
    const where = document.createElement("span");
    where.className = "muted";
    where.textContent = `${place}  `;
    read.replaceChildren(where, strong);
    area.ariaValueNow = String(step);
    const told = { name: this.getAttribute("name"), value: text, step, place };
    area.ariaValueText = say(view.where ? "point-at" : "point", told);
  }

  async #table() {
    const { tableOf } = await import("./chart-table.js");
    if (this.querySelector("details").open && this.#view) {
      this.querySelector(".scroll").replaceChildren(tableOf(this.#view, this.getAttribute("name"), format));
    }
  }
}

customElements.define("metric-chart", MetricChart);
