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

// Onto the canvas of a chart: `tails` as {x, values}, where they have a value.
export function drawTails({ ctx, bbox, valToPos }, tails, colour) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.25 * devicePixelRatio;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const { x, values } of tails) {
    ctx.beginPath();
    let open = false;
    values.forEach((value, i) => {
      if (value !== null) ctx[open ? "lineTo" : "moveTo"](valToPos(x[i], "x", true), valToPos(value, "y", true));
      open = value !== null;
    });
    ctx.stroke();
  }
  ctx.restore();
}
