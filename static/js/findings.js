// What the doctor found, as the page lists it: drawn into the charts as bands of its steps, and a way from each to them.

const ROOM = 10;

export class Findings {
  constructor(monitor, list) {
    this.monitor = monitor;
    this.list = list;
    // Beside the list the banner leads to steps too.
    document.addEventListener("click", ({ target }) => {
      const link = target.closest?.("a[data-window]");
      if (link) this.show(link.dataset);
    });
    new MutationObserver(() => monitor.draw()).observe(list, { childList: true, subtree: true, attributeFilter: ["data-to", "data-severity"] });
    monitor.draw();
  }

  // Onto the canvas of a chart, below its line, in the colours of the list.
  draw(plot, name) {
    // Played back, the past is as it was told then.
    if (this.monitor.player) return;
    const { ctx, bbox } = plot;
    const unit = devicePixelRatio;
    const x = (step) => plot.valToPos(this.monitor.place(Number(step)), "x", true);
    ctx.save();
    for (const one of this.list.querySelectorAll(`[data-metric="${CSS.escape(name)}"]`)) {
      const left = Math.max(bbox.left, x(one.dataset.from) - 2 * unit);
      const right = Math.min(bbox.left + bbox.width, x(one.dataset.to) + 2 * unit);
      if (right <= left) continue;
      ctx.fillStyle = getComputedStyle(one.querySelector(".status")).color;
      ctx.globalAlpha = 0.12;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(left, bbox.top, right - left, 3 * unit);
    }
    ctx.restore();
  }

  // Its steps, with some room around them, in a chart of its metric.
  async show({ window: steps, metricName: name }) {
    const { monitor } = this;
    const [from, to] = steps.split(" ").map(Number);
    if (monitor.player) monitor.stop();
    if (monitor.names.includes(name) && !monitor.chosen.includes(name)) {
      monitor.chosen = [...monitor.chosen, name];
      monitor.choices();
      await monitor.load();
    }
    const room = Math.max(ROOM, (to - from) / 2);
    monitor.zoom([Math.max(0, from - room), to + room].map(monitor.place));
  }
}
