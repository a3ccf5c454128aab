// The values of one metric, each step once however often it arrives: whoever lost the line can simply read again.

export class Series {
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
    const at = this.place(step);
    const known = this.steps[at] === step ? 1 : 0;
    this.steps.splice(at, known, step);
    this.values.splice(at, known, finite);
    this.lows.splice(at, known, typeof low === "number" ? low : finite);
    this.highs.splice(at, known, typeof high === "number" ? high : finite);
  }

  // Where a step stands, or would.
  place(step) {
    const last = this.steps.length - 1;
    if (last < 0 || step > this.steps[last]) return last + 1;
    let from = 0;
    let to = last;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.steps[middle] < step) from = middle + 1;
      else to = middle;
    }
    return to;
  }

  // What comes before a step.
  before(step) {
    const cut = new Series();
    const end = this.place(step);
    for (const key of ["steps", "values", "lows", "highs"]) cut[key] = this[key].slice(0, end);
    cut.odd = new Map([...this.odd].filter(([at]) => at < step));
    return cut;
  }
}

export function seriesOf(points, odd = []) {
  const made = new Series();
  for (const [step, value, low, high] of points) made.put(step, value, low, high);
  for (const [step, value] of odd) made.odd.set(step, value);
  return made;
}

export const seriesIn = ({ series, non_finite: odd }) =>
  new Map(Object.entries(series).map(([name, points]) => [name, seriesOf(points, odd?.[name])]));
