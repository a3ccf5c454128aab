// What a chart of all steps as they are has no need of: a part of them, time, labelled so that no two ticks read the
// same, logarithms, fitted to what they show, and smoothing.

const { say, duration } = window.anneal;
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  ...[1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 1].flatMap((unit) => [1, 2, 5].map((n) => Number((n * unit).toPrecision(1)))),
  ...[10, 15, 30], ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE), ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 5, 10, 20, 50, 100].map((n) => n * DAY),
];
// Below this many times the least value, ticks of equal steps fit a logarithm; above, 1 to 9 of each power of ten do.
const NARROW = 5;
const LABEL = 34; // px between two labels of the upright axis

// Whole numbers alone are steps. Between two of them the tick in the middle says which.
export function stepLabels(ticks, whole) {
  const found = ticks.map(whole);
  const middle = ticks.length >> 1;
  if (ticks.length && !found.some(Boolean)) found[middle] = [Math.floor, Math.ceil].map((side) => whole(side(ticks[middle]))).join("–");
  return found;
}

// As a duration reads, with everything by which it may differ from its neighbour `step` seconds away.
function timeLabel(seconds, step) {
  const digits = step < 1 ? -Math.floor(Math.log10(step)) : 0;
  if (seconds < MINUTE) return say("seconds", { s: seconds.toFixed(digits) });
  if (seconds < HOUR) return say("minutes", { m: Math.floor(seconds / MINUTE), s: (seconds % MINUTE).toFixed(digits) });
  const rest = seconds % (seconds < DAY ? MINUTE : HOUR);
  return duration(seconds) + (rest < step / 2 ? "" : ` ${timeLabel(rest, step)}`);
}

export const timeAxis = {
  incrs: STEPS,
  // The labels of a short part far from the start say more, and need more room.
  space(plot, axis, min, max) {
    const far = (max > DAY && max - min < 10 * HOUR) || (max > HOUR && max - min < 10 * MINUTE);
    return (far ? 120 : 72) + (max - min < 0.01 ? 40 : 0);
  },
  values: (plot, ticks, axis, space, step) => ticks.map((tick) => timeLabel(tick, step)),
};

export const logScale = {
  range(plot, min, max) {
    if (min === null) return [null, null];
    const room = max > min ? (max / min) ** 0.06 : 2;
    return [min / room, max * room];
  },
};

export const logAxis = {
  splits(plot, axis, min, max, step) {
    if (max < NARROW * min) {
      const first = Math.ceil(min / step);
      return Array.from({ length: Math.floor(max / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
    }
    const [low, high] = [Math.floor(Math.log10(min)), Math.floor(Math.log10(max))];
    // How many labels a power of ten has room for.
    const each = plot.bbox.height / devicePixelRatio / LABEL / Math.log10(max / min);
    const digits = each >= 6 ? [1, 2, 3, 4, 5, 7] : each >= 3 ? [1, 2, 5] : [1];
    const powers = Array.from({ length: high - low + 1 }, (_, i) => low + i).filter((power) => power % Math.ceil(1 / each) === 0);
    return powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`))).filter((tick) => tick >= min && tick <= max);
  },
  filter: (plot, ticks) => ticks,
};

// An exponential moving average, with the bias of its start taken out, and kept within its values: rounding noise
// of a constant would fill a chart.
export function smoothed(values, weight) {
  let [last, seen, low, high] = [0, 0, Infinity, -Infinity];
  return values.map((value) => {
    if (value === null) return null;
    last = last * weight + (1 - weight) * value;
    seen += 1;
    [low, high] = [Math.min(low, value), Math.max(high, value)];
    return Math.min(high, Math.max(low, last / (1 - weight ** seen)));
  });
}
