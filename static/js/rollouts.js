// The page of rollouts: steps and filters change in place, the curve can be read and clicked, and a new step is told
// without touching what is being read. Without this file all of it are links and forms.

const { announce, say } = window.anneal;
const STEP = "step";
let asking = null;

const region = () => document.getElementById("rollouts");
const pane = () => document.querySelector("[data-step]");
const curve = () => document.getElementById("rollout-curve");
const news = () => document.getElementById("rollout-news");

// --- Going somewhere: the last wish counts -----------------------------------------------------------------------

async function go(address, { top = false } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  region().ariaBusy = "true";
  try {
    const answer = await fetch(address, { signal: mine.signal, headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const text = await answer.text();
    if (asking !== mine) return;
    await htmx.swap({ sourceElement: region(), target: region(), text, select: "#rollouts", swap: "outerMorph" });
    history.replaceState(history.state, "", address);
    // A slider that was moved keeps its own value through a morph.
    const slider = region().querySelector("[data-slider]");
    if (slider) slider.value = slider.getAttribute("value");
    loaded();
    settle();
    if (top) pane()?.scrollIntoView({ block: "start" });
    announce(document.querySelector(".step-now b")?.textContent.trim() ?? "");
  } catch (error) {
    if (error.name === "AbortError") return;
    // Whatever is wrong (signed out, no server): the browser tells it best.
    location.assign(address);
  } finally {
    if (asking === mine) {
      asking = null;
      if (region()) region().ariaBusy = "false";
    }
  }
}

function toStep(step) {
  const address = new URL(location.href);
  address.searchParams.set(STEP, step);
  for (const name of ["page", "group"]) address.searchParams.delete(name);
  return go(address.href);
}

document.addEventListener("click", (event) => {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest("#rollouts a[href]");
  if (!link || link.matches("[data-reload]") || link.pathname !== location.pathname) return;
  event.preventDefault();
  if (link.matches("[data-newest-link]")) toStep(news().dataset.newest);
  else go(link.href, { top: link.matches("[data-top]") });
});

document.addEventListener("submit", (event) => {
  if (!event.target.closest("#rollouts")) return;
  event.preventDefault();
  const query = new URLSearchParams(new FormData(event.target));
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  go(`${location.pathname}?${query}`);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-slider]")) toStep(event.target.value);
  else if (event.target.matches("[data-filters] select")) event.target.form.requestSubmit();
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-slider]")) read(pointAt(Number(event.target.value)));
});

document.addEventListener("keydown", (event) => {
  const link = { "[": "[data-previous]", "]": "[data-next]" }[event.key];
  if (!link || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=range]), select, textarea") || document.getElementById("keys-on")?.checked === false) return;
  document.querySelector(link)?.click();
});

// --- The curve ---------------------------------------------------------------------------------------------------

const points = () => JSON.parse(curve()?.dataset.points ?? "[]");

// The newest point at or before a step; the first where there is none.
function pointAt(step) {
  const all = points();
  return all.findLast(([first]) => first <= step) ?? all[0];
}

const format = (value) => String(Number(value.toPrecision(4)));

function read(point) {
  const line = document.querySelector("[data-read]");
  if (!line) return;
  if (!point) {
    line.textContent = "";
    return;
  }
  const [first, last, low, mean, high] = point;
  const where = first === last ? say("step-n", { step: last }) : say("steps-n", { first, last });
  line.textContent = `${where} · ${format(mean)} (${format(low)} – ${format(high)})`;
}

function stepAt(event) {
  const { first, end } = curve().dataset;
  const box = curve().querySelector("svg").getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  return Math.round(Number(first) + share * (end - first));
}

document.addEventListener("pointermove", (event) => {
  if (event.target.closest("#rollout-curve svg")) read(pointAt(stepAt(event)));
  else if (!event.target.matches("[data-slider]")) read(null);
});

document.addEventListener("click", (event) => {
  if (event.target.closest("#rollout-curve svg")) toStep(pointAt(stepAt(event))[1]);
});

// --- News --------------------------------------------------------------------------------------------------------

// The newest step that the page knew when it was last loaded, and whether a newer one was said aloud: one word is
// enough until somebody looks.
let known = 0;
let said = false;

function loaded() {
  known = Number(news()?.dataset.newest ?? 0);
  said = false;
}

function settle() {
  const line = news();
  if (!line) return;
  const newest = Number(line.dataset.newest ?? 0);
  line.hidden = newest <= known;
  const slider = document.querySelector("[data-slider]");
  if (slider && curve()?.dataset.end) slider.max = curve().dataset.end;
  if (line.hidden) return;
  // Nothing is being read yet: the first step comes by itself.
  if (!pane()) toStep(newest);
  else if (!said) announce(line.querySelector("p").textContent.trim());
  said = true;
}

loaded();
document.addEventListener("htmx:after:swap", ({ detail }) => {
  if (!asking || detail.ctx?.select !== "#rollouts") settle();
});
