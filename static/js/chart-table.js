// A chart as a table: the alternative to reading it point by point.

const { say } = window.anneal;
const ROWS = 200;

export function tableOf(view, name, format) {
  const all = view.steps.length;
  const from = Math.max(0, all - ROWS);
  const table = document.createElement("table");
  table.className = "plain";
  const caption = table.createCaption();
  caption.className = all > ROWS ? "muted" : "visually-hidden";
  caption.textContent = all > ROWS ? say("last-n", { n: ROWS, all }) : name;
  const head = table.createTHead().insertRow();
  for (const key of [view.where ? "time" : "step", "value"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = say(key);
    head.append(cell);
  }
  const body = table.createTBody();
  for (let i = all - 1; i >= from; i -= 1) {
    const row = body.insertRow();
    const cell = document.createElement("th");
    cell.scope = "row";
    cell.className = "num";
    cell.textContent = view.where ? view.where(i) : view.steps[i];
    row.append(cell);
    row.insertCell().textContent = format(view.values[i] ?? view.odd.get(view.steps[i]) ?? null);
  }
  return table;
}
