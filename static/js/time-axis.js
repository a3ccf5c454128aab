// When each step was, in seconds since the run began: the API's rows have the trainer's clock. Of a long run some
// rows are read, and what lies between them is interpolated.

const ROWS_PAGE = 500;
const SAMPLES = 24;

export class TimeAxis {
  steps = [];
  seconds = [];

  take({ results }, start) {
    for (const { step, time } of results) {
      if (time !== null) this.push(step, Math.max(0, time - (start ?? (this.start ??= time))));
    }
  }

  push(step, seconds) {
    if (!(step > (this.steps.at(-1) ?? -1))) return;
    this.steps.push(step);
    this.seconds.push(seconds);
  }

  at(step) { return between(this.steps, this.seconds, step); }

  stepAt(seconds) { return between(this.seconds, this.steps, seconds); }
}

function between(from, to, x) {
  if (!from.length) return x;
  let high = from.findIndex((known) => known >= x);
  if (high < 0) high = from.length - 1;
  const low = Math.max(0, high - 1);
  if (from[high] === from[low]) return to[high];
  return to[low] + ((x - from[low]) * (to[high] - to[low])) / (from[high] - from[low]);
}

// `get(query, path)` asks the API; `start` in seconds since the epoch, null: the first row's.
export async function readTimes(get, segments, total, start) {
  const axis = new TimeAxis();
  const parts = segments.filter((part) => part.first_step !== null);
  if (total <= ROWS_PAGE) axis.take(await get(`?limit=${ROWS_PAGE}`, "rows/"), start);
  else {
    const first = Math.min(...parts.map((part) => part.first_step));
    const last = Math.max(...parts.map((part) => part.last_step));
    const at = Array.from({ length: SAMPLES + 1 }, (_, i) => Math.round(first + ((last - first) * i) / SAMPLES));
    for (const answer of await Promise.all(at.map((step) => get(`?start_step=${step}&limit=1`, "rows/")))) axis.take(answer, start);
  }
  return axis;
}
