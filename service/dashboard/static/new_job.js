// The page of a new job: one button, and for who wants it every choice, with what comes of it.

import { call, page } from "./api.js";
import { carry, chosen } from "./carry.js";
import { copy } from "./copy.js";
import { fault } from "./fault.js";
import { draw } from "./network.js";
import { PROGRAMS, WrongField, choices, fill } from "./request.js";
import { addChoice, isEmpty, renew, space } from "./variants.js";

const at = (id) => document.getElementById(id);
const form = at("job-form");
const number = new Intl.NumberFormat();
const WAIT_MS = 350;

const request = () => ({ task: at("task").value, dataset: at("dataset").value, ...choices(form) });

// Faults, each at its field

function forget() {
  at("fault").hidden = true;
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  for (const shown of form.querySelectorAll(".field > .fault")) shown.remove();
}

/** Shows a message at the field of a path, or of the nearest one around it; false without any. */
function blame(path, message) {
  for (const names = path.split("."); names.length; names.pop()) {
    const field = form.querySelector(`[data-field="${CSS.escape(names.join("."))}"]`);
    if (!field) continue;
    const text = document.createElement("p");
    text.className = "fault";
    text.textContent = message;
    field.append(text);
    field.querySelector("input, select").setAttribute("aria-invalid", "true");
    for (let around = field.closest("details"); around; around = around.parentElement.closest("details")) {
      around.open = true;
    }
    return true;
  }
  return false;
}

function show(problem) {
  forget();
  const places =
    problem instanceof WrongField
      ? [{ path: problem.path, message: problem.reason }]
      : (problem.errors ?? []).map((each) => ({ path: each.location.replace(/^body\./, ""), message: each.message }));
  const nowhere = places.filter((each) => !blame(each.path, each.message));
  const said = problem instanceof TypeError ? "The service does not answer." : problem.detail ?? problem.message;
  at("fault").textContent = [said, ...nowhere.map((each) => `${each.path}: ${each.message}`)].join(" ");
  at("fault").hidden = places.length > 0 && nowhere.length === 0;
}

// What it will be

function describe(found) {
  const text = (id, value) => { at(id).textContent = value; };
  const most = found && at("task").value === "text-classification" ? "at most " : "";
  text("parameters", found ? most + number.format(found.parameters) : "–");
  text("memory", found ? most + size(found.memory_bytes) : "–");
  text("steps", found ? number.format(found.steps) : "–");
  text("seconds", found ? (found.seconds === null ? "not known yet" : duration(found.seconds)) : "–");
  text("queue", found ? found.queue : "–");
  if (!found) return;
  text("config", JSON.stringify(found.config, null, 2));
  at("network-text").textContent = draw(at("network"), found.config);
  for (const control of form.querySelectorAll("[data-path]")) {
    const value = control.dataset.path.split(".").reduce((place, name) => place?.[name], found.config);
    if (value === undefined) continue;
    const shown = Array.isArray(value) ? value.join(", ") : String(value ?? "null");
    if (control.tagName === "SELECT") control.options[0].text = control.dataset.kind === "group" ? "default" : `default: ${shown}`;
    else control.placeholder = shown;
  }
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}

function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

let asked = 0;
let waiting;

async function look() {
  const turn = ++asked;
  try {
    const body = request();
    at("program").textContent = PROGRAMS[at("language").value](body);
    const chosen = Object.keys(body).length - 2;
    at("changed").textContent = chosen ? "some choices were made" : "nothing was changed";
    if (!body.dataset) return;
    const found = await call("/api/v1/jobs/estimate", { method: "POST", body });
    if (turn !== asked) return;
    forget();
    describe(found);
  } catch (problem) {
    if (turn !== asked) return;
    describe(null);
    show(problem);
  }
}

const soon = () => {
  clearTimeout(waiting);
  waiting = setTimeout(look, WAIT_MS);
};

form.addEventListener("input", (event) => {
  if (event.target.dataset.path && event.target.value !== "") {
    const nothing = form.querySelector(`[data-null="${event.target.dataset.path}"]`);
    if (nothing) nothing.checked = false;
  }
  soon();
});

// Another task has another form, which keeps what was chosen as far as it has the same choice. Another
// data set has one only where it does not suit the task.

let shown = { task: at("task").value, dataset: at("dataset").value };
let turns = 0;

async function turn() {
  const mine = ++turns;
  const wanted = { task: at("task").value, dataset: at("dataset").value };
  const address = `/jobs/new?${new URLSearchParams(wanted)}`;
  enable(false);
  clearTimeout(waiting);
  asked++;
  try {
    const fresh = await page(address);
    if (mine !== turns) return;
    const before = chosen(form);
    const nothing = before.size === 0 && isEmpty();
    for (const id of ["choices", "choice"]) at(id).replaceWith(fresh.getElementById(id));
    const lost = [...carry(form, before), ...renew().map((path) => `${path} of the sweep`)];
    at("carried").textContent = nothing ? "" : lost.length === 0 ? "What you had chosen was kept."
      : `What you had chosen was kept, but for these, which ${wanted.task} does not have: ${lost.join(", ")}.`;
    shown = wanted;
    history.replaceState(null, "", address);
    look();
  } catch (problem) {
    if (mine !== turns) return;
    for (const id of ["task", "dataset"]) at(id).value = shown[id];
    show(problem);
  }
  enable();
}

at("task").addEventListener("change", turn);
at("dataset").addEventListener("change", () => {
  const suited = at("dataset").selectedOptions[0].dataset.tasks.split(" ").filter(Boolean);
  if (suited.length && !suited.includes(at("task").value)) {
    at("task").value = suited[0];
    turn();
  } else {
    shown.dataset = at("dataset").value;
  }
});

at("clear").addEventListener("click", () => {
  for (const control of form.querySelectorAll("[data-path]")) control.value = "";
  for (const nothing of form.querySelectorAll("[data-null]")) nothing.checked = false;
  look();
});
at("language").addEventListener("input", () => {
  at("copied").textContent = "";
  look();
});
at("copy").addEventListener("click", () => {
  const program = at("program");
  copy(program.textContent, () => getSelection().selectAllChildren(program), at("copied"));
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  at("train").disabled = true;
  clearTimeout(waiting);
  asked++;
  try {
    const job = await call("/api/v1/jobs", { method: "POST", body: request() });
    location.assign(`/jobs/${job.id}`);
  } catch (problem) {
    show(problem);
    at("train").disabled = false;
  }
});
form.noValidate = true;

// Variants of it

const start = at("start-sweep");
function enable(on = true) {
  at("train").disabled = !(on && "may" in at("train").dataset);
  start.disabled = !(on && "may" in start.dataset) || isEmpty();
}

at("add-choice").addEventListener("click", () => addChoice(enable));
start.addEventListener("click", async () => {
  start.disabled = true;
  start.disabled = await fault(at("sweep-fault"), async () => {
    const body = { job: request(), space: space(), max_trials: at("trials").valueAsNumber };
    const sweep = await call("/api/v1/sweeps", { method: "POST", body });
    location.assign(`/sweeps/${sweep.id}`);
  });
});

fill(form, JSON.parse(at("values").textContent));
enable(); // until here a click would lose the choices
look();
