// The page of data sets: files are dropped or chosen, sent one after the other, and their faults told.

import { upload } from "./api.js";

const form = document.getElementById("upload");
const chosen = document.getElementById("files");
const list = document.getElementById("uploads");
const most = Number(form.dataset.most);

const element = (name, text, changes = {}) =>
  Object.assign(document.createElement(name), { textContent: text }, changes);

/** A fault's row and column: its location is body.file.ROW.COLUMN, and a column may have dots. */
function place(location) {
  const found = /^body\.file\.(\d+)(?:\.(.*))?$/s.exec(location);
  return found ? { row: found[1], column: found[2] ?? "" } : null;
}

/** What is wrong: a table of places where the service names any, else what it says. */
function told(problem) {
  const places = (problem.errors ?? []).map((each) => ({ ...place(each.location), message: each.message }));
  if (!places.some((each) => each.row)) {
    return [element("p", problem.detail ?? problem.message, { className: "fault" })];
  }
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["Row", "Column", "Fault"]) head.append(element("th", name, { scope: "col" }));
  const body = table.createTBody();
  for (const each of places) {
    const row = body.insertRow();
    for (const text of [each.row ?? "", each.column ?? "", each.message]) row.append(element("td", text));
  }
  return [element("p", "Nothing of it was stored.", { className: "fault" }), table];
}

async function send(file) {
  const item = document.createElement("li");
  const name = element("strong", file.name);
  const bar = element("progress", "", { max: 1, value: 0 });
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  const said = element("span", "", { className: "hint" });
  item.append(name, " ", bar, " ", said);
  list.prepend(item);
  try {
    if (file.size > most) throw new Error(`The file has ${file.size} bytes; the limit is ${most}.`);
    const body = new FormData();
    body.append("file", file);
    const dataset = await upload("/api/v1/datasets", body, (share) => {
      bar.value = share;
      said.textContent = share < 1 ? `${Math.floor(100 * share)} %` : "is checked";
    });
    bar.remove();
    name.replaceWith(element("a", file.name, { href: `/datasets/${dataset.id}` }));
    said.textContent = `${dataset.rows} rows`;
    return dataset;
  } catch (problem) {
    bar.remove();
    said.remove();
    item.append(...told(problem));
    return null;
  }
}

/** One at a time: each is read whole by the service. The page of a single good one is opened. */
async function take(files) {
  const sent = [];
  for (const file of files) sent.push(await send(file));
  if (sent.length === 1 && sent[0]) location.assign(`/datasets/${sent[0].id}`);
  else document.body.dispatchEvent(new CustomEvent("datasets"));
}

form.addEventListener("submit", (event) => event.preventDefault());
chosen.addEventListener("change", async () => {
  const files = [...chosen.files];
  chosen.value = "";
  await take(files);
});
for (const name of ["dragenter", "dragover"]) {
  form.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
}
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", async (event) => {
  event.preventDefault();
  form.classList.remove("over");
  await take([...event.dataTransfer.files]);
});
