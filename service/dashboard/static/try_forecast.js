// Forecasts of a series that was pasted, read from a file or taken of a data set.

import { call } from "./api.js";
import { Chart } from "./charts.js";
import { fan, LEVELS } from "./fan.js";
import { fault } from "./fault.js";
import { oneSeries, readSeries } from "./series.js";

const at = (name) => document.getElementById(name);
const form = at("try");
const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 });
const MAX_BYTES = 16 * 2 ** 20;

let shown = { history: [], forecast: null };
const chart = new Chart(at("fan"), (paint) => fan(paint, shown.history, shown.forecast));

/** The series of the text that is chosen; throws an Error where there is none. */
function read() {
  const all = readSeries(at("series").value, JSON.parse(form.dataset.columns));
  const before = at("name").value;
  at("name").replaceChildren(...[...all.keys()].map((name) => new Option(name, name, false, name === before)));
  at("which").hidden = all.size < 2;
  return oneSeries(all, before);
}

/** A text from elsewhere, and which of its columns hold what, where that is known. */
function take(text, columns = {}) {
  at("series").value = text;
  form.dataset.columns = JSON.stringify(columns);
}

let asked = 0;
async function forecast() {
  const mine = ++asked;
  await fault(form.querySelector(".fault"), async () => {
    const history = read();
    const body = { model: form.dataset.model, series: [history], horizon: Number(at("horizon").value), quantiles: LEVELS };
    if (at("start") !== null) body.start = [at("start").value];
    const answer = await call("/api/v1/forecasts", { method: "POST", body });
    if (mine !== asked) return; // the horizon was dragged on meanwhile
    shown = { history, forecast: answer.forecasts[0] };
    chart.draw();
    at("read").textContent = `${history.length} timesteps, forecast by ${answer.model.name}, version ${answer.model.version}.`;
    tabulate(shown);
  });
}

function tabulate({ history, forecast: { mean, quantiles } }) {
  const row = (kind, texts) => {
    const made = document.createElement("tr");
    made.append(...texts.map((text) => Object.assign(document.createElement(kind), { textContent: text })));
    return made;
  };
  at("numbers").replaceChildren(
    row("th", ["Timestep", "Mean", ...LEVELS.map((level) => `${number.format(100 * level)} %`)]),
    ...mean.map((value, index) => row("td", [
      history.length + index + 1,
      number.format(value),
      ...LEVELS.map((level) => number.format(quantiles[level][index])),
    ])),
  );
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  forecast();
});

let dragging;
at("horizon").addEventListener("input", () => {
  at("horizon-shown").textContent = at("horizon").value;
  clearTimeout(dragging);
  dragging = setTimeout(forecast, 60);
});
at("name").addEventListener("change", forecast);
at("series").addEventListener("input", () => { form.dataset.columns = "{}"; });

at("file").addEventListener("change", () => fault(form.querySelector(".fault"), async () => {
  const [file] = at("file").files;
  if (file === undefined) return;
  if (file.size > MAX_BYTES) throw new Error("The file is too large to be read here: upload it as a data set, and predict with a batch.");
  take(await file.text());
  await forecast();
}));

at("from-dataset")?.addEventListener("change", () => fault(form.querySelector(".fault"), async () => {
  const id = at("from-dataset").value;
  if (id === "") return;
  const { profile } = await call(`/api/v1/datasets/${id}`);
  const answer = await fetch(`/api/v1/datasets/${id}/content`);
  if (!answer.ok) throw new Error(`The service answered ${answer.status}.`);
  take(await answer.text(), profile.series);
  await forecast();
}));

form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
form.dataset.columns = "{}";
if (at("series").value === "") {
  const wave = (step) => 100 + 0.2 * step + 30 * Math.sin((2 * Math.PI * step) / 24) + 6 * Math.cos(2.3 * step);
  at("series").value = Array.from({ length: 168 }, (_, step) => wave(step).toFixed(1)).join(" ");
}
chart.draw();
if (at("start") === null) forecast();
