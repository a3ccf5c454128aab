// A part of a run's past: its steps in finer points, and a line that says which they are, how many records, and how
// many came since. `monitor` keeps what is looked at and draws it.

import { seriesIn } from "./series.js";

const { announce, say } = window.anneal;

export async function look(monitor, points) {
  const { range } = monitor;
  const [start, end] = monitor.stepsOf(range);
  if (start > end) {
    // Between two steps: nothing to ask for.
    monitor.records = 0;
    read(monitor);
    return;
  }
  const query = new URLSearchParams({ names: monitor.chosen.join(","), points, start_step: start, end_step: end });
  try {
    const answer = await monitor.get(`?${query}`);
    if (monitor.range !== range) return;
    if (monitor.resolution > 1) monitor.zoomed = seriesIn(answer);
    monitor.records = answer.total_steps;
    read(monitor);
    monitor.draw();
  } catch { /* the coarse curve stays */ }
}

// The range of these steps on an axis, with half a step to spare, as times come and go through rounding; null: no step.
export const around = ([first, last], place) => (first <= last ? [first - 0.5, last + 0.5].map(place) : null);

function read(monitor) {
  tell(monitor);
  announce(monitor.find("history").querySelector("p").textContent);
}

export function tell(monitor) {
  const { newer, records } = monitor;
  const [first, last] = monitor.stepsOf(monitor.range);
  const key = first < last ? "steps-n" : first > last ? "between-n" : "step-n";
  monitor.find("history-range").textContent = say(key, { first, last, step: first });
  const told = [newer ? say("newer-n", { n: newer }) : ""];
  if (records !== null) told.unshift(records ? say(records === 1 ? "record" : "records-n", { n: records }) : say("nothing-here"));
  monitor.find("history-records").textContent = told.filter(Boolean).join(" · ");
}
