// What a sweep may change of a job: a row of controls for each choice.

const rows = () => document.querySelectorAll("#space fieldset");
const part = (row, name) => row.querySelector(`[data-part="${name}"]`);
const chosen = (row) => part(row, "path").selectedOptions[0];
const isNamed = (row) => ["choice", "boolean"].includes(chosen(row).dataset.kind);

/** Adds a row; `changed` is called when it goes again. */
export function addChoice(changed) {
  const row = document.getElementById("choice").content.cloneNode(true).querySelector("fieldset");
  const taken = new Set([...rows()].map((each) => part(each, "path").value));
  const suit = () => {
    for (const each of row.querySelectorAll("[data-of]")) each.hidden = (each.dataset.of === "values") !== isNamed(row);
    part(row, "values").value = chosen(row).dataset.values;
  };
  const free = [...part(row, "path").options].find((option) => !taken.has(option.value));
  if (free) part(row, "path").value = free.value;
  suit();
  part(row, "path").addEventListener("change", suit);
  part(row, "remove").addEventListener("click", () => {
    row.remove();
    changed();
  });
  document.getElementById("space").append(row);
  part(row, "path").focus();
  changed();
}

/** After the form changed: the rows offer its choices. Those of others go; their paths are returned. */
export function renew() {
  const offered = document.getElementById("choice").content.querySelector('[data-part="path"]');
  return [...rows()].flatMap((row) => {
    const path = part(row, "path");
    const { value } = path;
    path.replaceChildren(...offered.cloneNode(true).children);
    path.value = value;
    if (path.value === value) return [];
    row.remove();
    return [value];
  });
}

/** The space of the sweep. Throws an Error that names a choice that is there twice, or lacks an end. */
export function space() {
  const found = {};
  for (const row of rows()) {
    const path = part(row, "path").value;
    if (path in found) throw new Error(`${path} stands here twice.`);
    found[path] = dimension(row);
  }
  return found;
}

export const isEmpty = () => rows().length === 0;

function dimension(row) {
  const { value, dataset } = chosen(row);
  if (isNamed(row)) {
    const named = part(row, "values").value.split(",").map((each) => each.trim()).filter(Boolean);
    return { type: "categorical", choices: dataset.kind === "boolean" ? named.map((each) => each === "true") : named };
  }
  const [low, high] = ["low", "high"].map((name) => part(row, name).valueAsNumber);
  if (Number.isNaN(low) || Number.isNaN(high)) throw new Error(`Say from where to where ${value} may go.`);
  return { type: dataset.kind === "integer" ? "int" : "float", low, high, log: part(row, "log").checked };
}
