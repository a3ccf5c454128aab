// The menu of metrics: what people look for first, and every name in groups.

const { say } = window.anneal;

// What the trainers call it: verl, TRL, and the platform's own.
const PRESETS = [
  ["preset-loss", /(^|[/_])loss$/],
  ["preset-reward", /reward.*mean|score.*mean|^rewards?$|rewards?\/(chosen|margins)/],
  ["preset-kl", /(^|[/_])kl([/_]|$)|kl_(loss|mean|div)/],
  ["preset-gradient", /grad_norm/],
  ["preset-tokens", /tokens_per_second|throughput|tgs$/],
  ["preset-gpu-memory", /memory_(allocated|reserved)|gpu_?mem/],
];

// `names` all there are, `chosen` those shown; `choose(names)` takes a new choice.
export function fillChooser(box, { names, chosen, choose }) {
  // Filled anew while somebody ticks: they stay where they are.
  const held = box.contains(document.activeElement) ? document.activeElement.value : "";
  box.replaceChildren(presets(names, chosen, choose), ...groups(names).map(([title, members]) => group(title, members, chosen)));
  if (held) box.querySelector(`input[value="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  box.onchange = ({ target }) => {
    if (target.type !== "checkbox") return;
    const now = [...box.querySelectorAll("input:checked")].map((input) => input.value);
    // In the order in which they were chosen.
    choose([...chosen.filter((name) => now.includes(name)), ...now.filter((name) => !chosen.includes(name))]);
  };
}

function presets(names, chosen, choose) {
  const row = document.createElement("div");
  row.className = "presets";
  row.role = "group";
  row.ariaLabel = say("presets");
  for (const [key, pattern] of PRESETS) {
    const found = names.filter((name) => pattern.test(name));
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = say(key);
    button.disabled = !found.length;
    button.ariaPressed = String(found.length > 0 && found.every((name) => chosen.includes(name)));
    button.addEventListener("click", () => {
      const on = button.ariaPressed === "true";
      choose(on ? chosen.filter((name) => !found.includes(name)) : [...new Set([...chosen, ...found])], key);
    });
    button.dataset.preset = key;
    row.append(button);
  }
  return row;
}

function groups(names) {
  const found = new Map();
  for (const name of names) {
    const title = name.includes("/") ? name.split("/")[0] : say("other");
    found.set(title, [...(found.get(title) ?? []), name]);
  }
  return [...found];
}

function group(title, names, chosen) {
  const set = document.createElement("fieldset");
  set.className = "chooser-group";
  const legend = document.createElement("legend");
  legend.textContent = title;
  set.append(legend, ...names.map((name) => {
    const label = document.createElement("label");
    label.className = "check";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = name;
    box.checked = chosen.includes(name);
    const code = document.createElement("code");
    code.textContent = name;
    label.append(box, code);
    return label;
  }));
  return set;
}
