// Tables that are sorted by the buttons in their header, also after their rows came anew.

const chosen = new Map(); // from a table's id to {column, descending}

/** Numbers by size, texts by the reader's alphabet, cells without a value last. */
function compare(one, other, descending) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const difference = Number(one) - Number(other);
  const order = Number.isNaN(difference) ? one.localeCompare(other, undefined, { numeric: true }) : difference;
  return descending ? -order : order;
}

function sort(table) {
  const { column, descending } = chosen.get(table.id) ?? {};
  if (column === undefined) return;
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    if (index === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((one, other) => compare(value(one), value(other), descending)));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.sortable th button");
  if (button === null) return;
  const table = button.closest("table");
  const column = button.closest("th").cellIndex;
  const before = chosen.get(table.id);
  chosen.set(table.id, { column, descending: before?.column === column && !before.descending });
  sort(table);
});

document.body.addEventListener("htmx:after:swap", () => {
  for (const table of document.querySelectorAll("table.sortable")) sort(table);
});
