// Keys of a run's charts: Space plays back, and while it does the player has its own.

const KEYS = new Set([" ", "[", "]"]);
const FIELDS = "input, select, textarea, [contenteditable]";
const OWN_SPACE = `${FIELDS}, button, summary, a[href], [role=log]`;

export function listen(monitor) {
  document.addEventListener("keydown", (event) => {
    const off = document.getElementById("keys-on")?.checked === false;
    if (off || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (!KEYS.has(event.key) || event.target.closest(event.key === " " ? OWN_SPACE : FIELDS)) return;
    if (!monitor.player && event.key !== " ") return;
    event.preventDefault();
    if (!monitor.player) monitor.play();
    else monitor.player.key?.(event.key);
  });
}
