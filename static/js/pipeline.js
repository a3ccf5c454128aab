// The pages of pipelines: bring the place of interest into view, and keep the editor's fields and problems together.

const graph = document.querySelector("[data-graph]");
const node = graph && ["failed", "running", "starting"].map((shape) => graph.querySelector(`.node[data-shape="${shape}"]`)).find(Boolean);
if (node) {
  // Only within its own frame: the page stays where it is.
  const [frame, box] = [graph.getBoundingClientRect(), node.getBoundingClientRect()];
  graph.scrollLeft += box.left - frame.left - (frame.width - box.width) / 2;
  graph.scrollTop += box.top - frame.top - (frame.height - box.height) / 2;
}

const editor = document.querySelector("[data-editor]");
if (editor) {
  const main = document.getElementById("main");
  main.addEventListener("htmx:after:swap", () => {
    for (const errors of main.querySelectorAll(".errors")) {
      const wrong = errors.childElementCount > 0;
      for (const field of main.querySelectorAll(`[aria-describedby~="${errors.id}"]`)) {
        if (field.matches("fieldset")) continue;
        if (wrong) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    }
    const fresh = main.querySelector("[data-fresh]");
    if (fresh) {
      delete fresh.dataset.fresh;
      fresh.focus();
      fresh.closest("[data-stage]").scrollIntoView({ block: "nearest" });
    }
  });
}
