// The machine's charts: samples of processor, memory, disk and GPUs over time. The last sample comes as an attribute
// of what stands above them, replaced by pushes.

const { duration } = window.anneal;
const MOST = 3000;
const GIB = 2 ** 30;
const GPU = /^gpu\.\d+\.(\w+)$/;

const PERCENT = [0, 100];

// Which names make up a chart, what a unit of it is, what the words for it are called, and what its values lie between.
const CHARTS = [
  ["gpuUse", (name) => GPU.exec(name)?.[1] === "use_percent", 1, PERCENT],
  ["gpuMemory", (name) => GPU.exec(name)?.[1] === "memory_used_bytes", GIB],
  ["cpu", (name) => name === "cpu_percent", 1, PERCENT],
  ["memory", (name) => name === "memory_used_bytes", GIB],
  ["disk", (name) => name === "disk_free_bytes", GIB],
];

class MachineCharts {
  samples = [];

  constructor(section) {
    this.section = section;
    this.box = section.querySelector("[data-machine-charts]");
    this.start = Date.parse(section.dataset.started) / 1000 || null;
    new MutationObserver(() => this.take()).observe(section, { subtree: true, attributes: true, attributeFilter: ["data-sample"] });
    addEventListener("reconnected", () => this.load());
    this.load();
  }

  async load() {
    try {
      const response = await fetch(this.section.dataset.machine, { headers: { Accept: "application/json" } });
      if (!response.ok) return;
      this.samples = (await response.json()).samples;
      this.draw();
    } catch { /* the figures above stay; the next visit reads again */ }
  }

  take() {
    const sample = JSON.parse(this.section.querySelector("[data-sample]").dataset.sample);
    if (sample[0] <= (this.samples.at(-1)?.[0] ?? 0)) return;
    this.samples.push(sample);
    // A page that is open for hours reads again what is kept more coarsely by now.
    if (this.samples.length > MOST) this.load();
    else this.draw();
  }

  draw() {
    this.box.hidden = !this.samples.length;
    const start = this.start ?? this.samples[0]?.[0];
    CHARTS.forEach(([key, counts, unit, bounds], i) => {
      const rows = this.samples
        .map(([time, values]) => [time - start, Object.entries(values).filter(([name]) => counts(name)).map(([, value]) => value / unit)])
        .filter(([, found]) => found.length);
      if (!rows.length) return;
      const name = this.box.dataset[key];
      let chart = this.box.querySelector(`[data-of="${key}"]`);
      if (!chart) {
        chart = document.createElement("metric-chart");
        for (const [attribute, value] of Object.entries({ name, sync: "machine", colour: (i % 6) + 1, "data-of": key })) chart.setAttribute(attribute, value);
        this.box.append(chart);
      }
      const seconds = rows.map(([at]) => Math.max(0, at));
      chart.show({
        x: seconds, steps: seconds.map(Math.round), odd: new Map(),
        // Of several GPUs the mean, and the band from the least to the most of them.
        values: rows.map(([, found]) => found.reduce((sum, value) => sum + value, 0) / found.length),
        lows: rows.map(([, found]) => Math.min(...found)),
        highs: rows.map(([, found]) => Math.max(...found)),
        range: null, bounds, smoothing: 0, scale: "linear", axis: "time",
        where: (at) => duration(seconds[at]),
      });
    });
  }
}

new MachineCharts(document.querySelector("[data-machine]"));
