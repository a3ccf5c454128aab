// Where a run's attempts began, and what a later attempt left behind: an attempt that resumed from step r replaces
// what the ones before it had logged after r. That tail never became part of the model, and is drawn dimmed.

import { seriesIn } from "./series.js";

const MOST_TAILS = 8;
const POINTS = 300;

export const marksOf = (segments) => segments.slice(1)
  .map((part) => ({ step: part.resumed_from ?? part.first_step, attempt: part.attempt }))
  .filter(({ step }) => step !== null);

// Of each attempt the first step that was left behind.
function left(segments) {
  const found = [];
  let limit = Infinity;
  for (const part of [...segments].reverse()) {
    if (part.last_step !== null && part.last_step > limit) found.push({ attempt: part.attempt, from: Math.max(part.first_step, limit + 1) });
    limit = Math.min(limit, part.resumed_from ?? -1);
  }
  return found.slice(0, MOST_TAILS);
}

// Name → the tails of that metric, as series. `get(query)` asks the API.
export async function readTails(get, segments, names) {
  const tails = new Map(names.map((name) => [name, []]));
  await Promise.all(left(segments).map(async ({ attempt, from }) => {
    const query = new URLSearchParams({ names: names.join(","), attempt, start_step: from, points: POINTS });
    for (const [name, series] of seriesIn(await get(`?${query}`))) tails.get(name)?.push(series);
  }));
  return tails;
}

// Onto the canvas of a chart, below its line: where attempts began, `marks` as {x, label}, and what they left behind,
// `tails` as {x, values}.
export function drawAttempts(plot, { marks, tails }, { muted, faint }) {
  const { ctx, bbox } = plot;
  const unit = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = ctx.fillStyle = muted;
  ctx.font = `${11 * unit}px ${getComputedStyle(plot.root).fontFamily}`;
  ctx.setLineDash([4 * unit, 4 * unit]);
  for (const { x, label } of marks) {
    const at = plot.valToPos(x, "x", true);
    stroke(ctx, [[at, bbox.top], [at, bbox.top + bbox.height]]);
    const fits = at + ctx.measureText(label).width + 8 * unit < bbox.left + bbox.width;
    ctx.textAlign = fits ? "left" : "right";
    ctx.fillText(label, at + (fits ? 4 : -4) * unit, bbox.top + 11 * unit);
  }
  ctx.strokeStyle = faint;
  ctx.lineWidth = 1.25 * unit;
  ctx.setLineDash([3 * unit, 3 * unit]);
  for (const { x, values } of tails) {
    stroke(ctx, values.map((value, i) => value !== null && [plot.valToPos(x[i], "x", true), plot.valToPos(value, "y", true)]));
  }
  ctx.restore();
}

// A line through these places; where there is none it is broken.
function stroke(ctx, places) {
  let open = false;
  ctx.beginPath();
  for (const place of places) {
    if (place) ctx[open ? "lineTo" : "moveTo"](...place);
    open = Boolean(place);
  }
  ctx.stroke();
}
