// Rows of a form that can be more, or fewer.

document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-add-row]");
  if (add) {
    const rows = document.getElementById(add.dataset.addRow);
    rows.append(document.getElementById(`${add.dataset.addRow}-row`).content.cloneNode(true));
    rows.lastElementChild.querySelector("input").focus();
  }
  const remove = event.target.closest("[data-remove-row]");
  if (remove) {
    const row = remove.closest("[data-form-row]");
    (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("input")?.focus();
    row.remove();
  }
});
