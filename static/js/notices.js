// Notifications by the browser: asked for on a click, shown while the page is hidden. What was shown is remembered, so that
// a page that comes back shows nothing old; of two pages that show the same at one moment the tag makes one.

const SHOWN = "anneal.notice";

const kept = () => {
  try { return Number(localStorage.getItem(SHOWN)); } catch { return 0; }
};
const keep = (id) => {
  try { localStorage.setItem(SHOWN, id); } catch { /* private window */ }
};

// The bell was sent anew: whoever looks hears of it, whoever does not is shown what is new; the list follows.
export function ring(bell, before, refresh) {
  const { unread } = bell.dataset;
  if (Number(unread) > Number(before)) window.anneal.announce(bell.textContent.trim());
  if (unread !== before && document.querySelector("[data-with-bell]")) refresh();
  if (bell.dataset.notice && document.hidden && window.Notification?.permission === "granted") show(bell.dataset);
}

function show({ notice, title, text, link }) {
  if (!(Number(notice) > kept())) return;
  keep(notice);
  const shown = new Notification(title, { body: text, tag: `anneal-${notice}`, icon: document.querySelector("link[rel=icon]")?.href });
  shown.onclick = () => {
    focus();
    location.assign(link);
    shown.close();
  };
}

// --- Where one says so ---------------------------------------------------------------------------------------

const ask = document.getElementById("browser-ask");
const state = document.getElementById("browser-state");

function tell() {
  const permission = "Notification" in window && isSecureContext ? Notification.permission : "missing";
  ask.hidden = permission !== "default";
  state.textContent = state.dataset[permission] ?? "";
}

if (ask) {
  tell();
  ask.addEventListener("click", async () => {
    // What is unread from before is no news.
    keep(document.getElementById("bell")?.dataset.notice ?? 0);
    await Notification.requestPermission();
    tell();
  });
}

// --- The list: what is opened is read ------------------------------------------------------------------------

document.addEventListener("click", ({ target }) => {
  const link = target.closest?.("[data-unread] a[data-read]");
  if (!link) return;
  const token = link.closest("li").querySelector("[name=csrfmiddlewaretoken]")?.value;
  fetch(link.dataset.read, { method: "POST", headers: { "X-CSRFToken": token }, keepalive: true, redirect: "manual" });
});
