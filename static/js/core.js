// What every page does beyond plain HTML: dialogs, keys, theme, times that stay fresh, live fragments.
// Everything here is a comfort: without it forms still submit and statuses still read.

const root = document.documentElement;
root.classList.add("js");
for (const element of document.querySelectorAll("[data-needs-js]")) element.hidden = false;

// --- Words: the page carries them in its own language ------------------------------------------------------

const words = {};
for (const item of document.getElementById("strings")?.content.children ?? []) words[item.dataset.key] = item.textContent;

const say = (key, values = {}) =>
  (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// --- Time: by the server's clock, so that a wrong clock here tells no lies ----------------------------------

const skew = root.dataset.now ? Date.parse(root.dataset.now) - Date.now() : 0;
const now = () => Date.now() + skew;

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return say("seconds", { s: whole });
  if (whole < 3600) return say("minutes", { m: Math.floor(whole / 60), s: whole % 60 });
  if (whole < 86400) return say("hours", { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
  return say("days", { d: Math.floor(whole / 86400), h: Math.floor((whole % 86400) / 3600) });
}

function ago(seconds) {
  if (seconds < 60) return say("just-now");
  if (seconds < 3600) return say("min-ago", { n: Math.floor(seconds / 60) });
  if (seconds < 86400) return say("h-ago", { n: Math.floor(seconds / 3600) });
  if (seconds < 30 * 86400) return say("d-ago", { n: Math.floor(seconds / 86400) });
  return null;
}

const STALE_MS = 30_000;

function freshen() {
  for (const time of document.querySelectorAll("time[data-elapsed]")) {
    write(time, duration((now() - Date.parse(time.dateTime)) / 1000));
  }
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago((now() - Date.parse(time.dateTime)) / 1000);
    if (text) write(time, text);
    if (!time.title) time.title = new Date(time.dateTime).toLocaleString(root.lang);
  }
  for (const badge of document.querySelectorAll("[data-stale]")) {
    badge.hidden = !(now() - Date.parse(badge.dataset.stale) > STALE_MS);
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

freshen();
setInterval(freshen, 1000);

// --- Dialogs -----------------------------------------------------------------------------------------------

function open(dialog) {
  if (dialog && !dialog.open) dialog.showModal();
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    open(dialog);
    return;
  }
  if (event.target.closest("[data-close]")) event.target.closest("dialog, .toast")?.[event.target.closest("dialog") ? "close" : "remove"]();
  else if (event.target instanceof HTMLDialogElement) event.target.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const at = document.activeElement;
  const menu = at?.closest("details.menu[open]") ?? document.querySelector("details.menu[open]");
  // A click on plain text in it gives the focus to what is around it.
  if (menu?.contains(at) || at?.contains(menu)) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// A form is sent once: a second click before the answer comes would start a second run.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// --- Theme: the cookie is what the server reads, so the next page comes right ------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-theme-form]");
  if (!form || !event.submitter) return;
  event.preventDefault();
  const { value } = event.submitter;
  root.dataset.theme = value;
  document.cookie = `theme=${value};path=/;max-age=31536000;samesite=lax`;
  for (const button of form.querySelectorAll("button")) button.ariaPressed = String(button.value === value);
  dispatchEvent(new Event("themechange"));
}, true);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));

// --- Keys --------------------------------------------------------------------------------------------------

const KEYS_OFF = "anneal.keys.off";
const keysSwitch = document.getElementById("keys-on");
const remembered = (key) => {
  try { return localStorage.getItem(key); } catch { return null; }
};
if (keysSwitch) {
  keysSwitch.checked = !remembered(KEYS_OFF);
  keysSwitch.addEventListener("change", () => {
    try { keysSwitch.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1"); } catch { /* private window */ }
  });
}

let going = 0;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  if (event.key !== "?" && keysSwitch && !keysSwitch.checked) return;
  if (going) {
    clearTimeout(going);
    going = 0;
    const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      link.click();
    }
    return;
  }
  const act = KEYS[event.key];
  if (act?.() !== undefined) event.preventDefault();
});

const KEYS = {
  "?": () => open(document.getElementById("keys")) ?? true,
  "/": () => {
    const search = [...document.querySelectorAll("[data-search]")].find((field) => field.offsetParent);
    search?.focus();
    search?.select();
    return search && true;
  },
  g: () => {
    going = setTimeout(() => { going = 0; }, 1200);
    return true;
  },
  n: () => document.querySelector("a[data-new]")?.click() ?? true,
  j: () => step(1),
  k: () => step(-1),
};

function step(by) {
  const links = [...document.querySelectorAll("[data-row] .row-link")];
  if (!links.length) return undefined;
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by))].focus();
  return true;
}

// --- Messages ----------------------------------------------------------------------------------------------

function announce(text) {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
}

for (const toast of document.querySelectorAll(".toast[data-passing]")) {
  const leave = () => { if (!toast.matches(":hover, :focus-within")) toast.remove(); };
  setTimeout(leave, 6000);
  toast.addEventListener("mouseleave", leave);
}

// --- Forms --------------------------------------------------------------------------------------------------

document.querySelector("[aria-invalid=true]")?.focus();

// A select that answers at once; its button is for those without script.
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
});

// --- Live fragments ----------------------------------------------------------------------------------------

const first = (fragment) => [...fragment.children].find((element) => element.id);

document.addEventListener("htmx:before:swap", ({ detail }) => {
  let look = false;
  for (const task of [...detail.tasks]) {
    const fresh = task.fragment && first(task.fragment);
    if (!fresh) continue;
    const shown = document.getElementById(fresh.id);
    // Fragments of two renderings may cross: what is older than the page is dropped.
    if (shown && Number(fresh.dataset.version) < Number(shown.dataset.version)) detail.tasks.splice(detail.tasks.indexOf(task), 1);
    if (fresh.id === "bell") {
      const before = shown.dataset.unread;
      import("./notices.js").then(({ ring }) => ring(fresh, before, refresh));
    }
    if (fresh.matches("[data-row]") && isNews(fresh, shown)) look = true;
    if (fresh.matches("[data-look]")) look = true;
    if (fresh.matches("#job-status, [data-announce]") && shown && shown.dataset.status !== fresh.dataset.status) {
      announce(fresh.textContent.trim().replace(/\s+/g, " "));
      dispatchEvent(new CustomEvent("statuschange", { detail: fresh.dataset.status }));
    }
  }
  // A row that is new here, or that belongs to another group now: the page knows where it goes.
  if (look) refresh();
});

// On a phone the navigation can be wider than the screen. Scrolling an element into view would move the place where
// Tab begins as well.
const here = document.querySelector(".nav [aria-current]");
here?.parentElement.scrollTo({ left: here.offsetLeft + here.offsetWidth - here.parentElement.clientWidth });

// A row of another page of the list stays away however often the page asks: once for each of its statuses is enough.
const asked = new Map();
function isNews(fresh, shown) {
  if (shown) return shape(shown) !== shape(fresh);
  const known = asked.get(fresh.id) === shape(fresh);
  asked.set(fresh.id, shape(fresh));
  return !known;
}

const shape = (row) => row.querySelector(".status")?.dataset.shape;

let waiting = false;
let again = false;
function refresh() {
  if (!document.getElementById("live-region")) return;
  // What changes while an answer is on its way may not be in it.
  again = true;
  if (waiting) return;
  waiting = true;
  setTimeout(async () => {
    again = false;
    try {
      const more = [...document.querySelectorAll("[data-region]")].map((region) => `#${region.id}:outerMorph`);
      await htmx.ajax("GET", location.href, { target: "#live-region", select: "#live-region", selectOOB: more.join(","), swap: "outerMorph" });
    } finally {
      waiting = false;
      if (again) refresh();
    }
  }, 400);
}

// A region that nothing is pushed for asks again by itself, while somebody looks.
const poll = () => {
  const region = document.querySelector("#live-region[data-poll]");
  if (region && !document.hidden) refresh();
  setTimeout(poll, 1000 * (region?.dataset.poll || 10));
};
setTimeout(poll, 1000 * (document.querySelector("#live-region[data-poll]")?.dataset.poll || 10));

let opened = false;
document.addEventListener("htmx:ws:after:connection", ({ target }) => {
  if (target.matches("[data-aside]")) return;
  root.dataset.live = "on";
  // What was pushed while the line was down is lost: look again.
  if (opened) {
    refresh();
    dispatchEvent(new Event("reconnected"));
  }
  opened = true;
});
document.addEventListener("htmx:ws:close", ({ detail, target }) => { if (detail.reason === "closed" && !target.matches("[data-aside]")) root.dataset.live = "off"; });

// Other scripts take these from here: an import would load this file twice under hashed names.
window.anneal = Object.freeze({ say, now, duration, announce });

addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
