// What was chosen in the form of one task, carried into that of another.

/** The choices of a form by their paths; a value that is null was chosen to be that. */
export function chosen(form) {
  const found = new Map();
  for (const control of form.querySelectorAll("[data-path]")) {
    const { path, kind } = control.dataset;
    const isNull = form.querySelector(`[data-null="${path}"]`)?.checked ?? false;
    if (!isNull && control.value.trim() === "") continue;
    const said = isNull ? "null" : (control.selectedOptions?.[0].text ?? control.value);
    found.set(path, { kind, value: isNull ? null : control.value, said: `${control.labels[0].textContent} (${said})` });
  }
  return found;
}

/** Puts choices into a form. Returns what is said of those that it does not have. */
export function carry(form, choices) {
  return [...choices].filter(([path, { kind, value }]) => {
    const control = form.querySelector(`[data-path="${path}"][data-kind="${kind}"]`);
    const nothing = form.querySelector(`[data-null="${path}"]`);
    if (value === null) {
      if (nothing !== null) nothing.checked = true;
      return nothing === null;
    }
    if (control === null) return true;
    control.value = value;
    if (control.value === value) return false;
    control.value = ""; // a list that does not have it
    return true;
  }).map(([, { said }]) => said);
}
