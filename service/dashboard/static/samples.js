// What a network answers to held-out examples while it learns: a text, forecasts or labels, by step.

import { Chart } from "./charts.js";
import { fan } from "./fan.js";

const at = (name) => document.getElementById(name);
const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const made = (name, text, changes = {}) =>
  Object.assign(document.createElement(name), { textContent: text, ...changes });

const taken = []; // {step, epoch, samples}, one after the other
let shown; // one of them
let fans = []; // a chart, and what is said of it, for each window of a forecast

export function take(data) {
  // An attempt that began further back comes by these steps again.
  while (taken.length && taken.at(-1).step >= data.step) taken.pop();
  taken.push(data);
}

/** Shows the step of the slider, which follows the newest one unless somebody moved it. */
export function draw() {
  const slider = at("sample");
  if (slider === null) return;
  const atEnd = slider.value === slider.max;
  slider.max = Math.max(0, taken.length - 1);
  if (atEnd) slider.value = slider.max;
  const now = taken[Number(slider.value)];
  if (now === undefined || now === shown) return;
  shown = now;
  at("no-sample").hidden = true;
  at("sample-step").textContent = `step ${now.step}, epoch ${number.format(now.epoch)}`;
  slider.setAttribute("aria-valuetext", `step ${now.step}`);
  ({ text: drawText, forecast: drawForecasts, label: drawLabels })[now.samples[0].kind](now.samples);
}

function drawText([{ prompt, text }]) {
  at("sample-view").replaceChildren(
    made("h3", "The held-out text"),
    made("blockquote", prompt),
    made("h3", "The network goes on with"),
    made("blockquote", text || "nothing: its scores were no numbers"),
  );
}

function drawForecasts(samples) {
  if (fans.length === 0) {
    const grid = made("div", "", { className: "columns fans" });
    fans = samples.map(({ series, position }) => {
      const place = made("div", "");
      const canvas = made("div", "", { className: "chart", role: "img" });
      const said = made("p", "", { className: "hint" });
      place.append(made("h3", `${series}, from timestep ${position + 1}`), canvas, said);
      grid.append(place);
      return { canvas, said };
    });
    at("sample-view").replaceChildren(grid);
    fans.forEach((each, index) => {
      each.chart = new Chart(each.canvas, (paint) => {
        const sample = shown.samples[index];
        const { history, position, truth } = sample;
        return {
          ...fan(paint, history, sample, { truth, before: position - history.length }),
          grid: { left: 64, right: 16, top: 60, bottom: 30 },
          dataZoom: [],
        };
      });
    });
  }
  fans.forEach(({ canvas, chart, said }, index) => {
    const { series, truth, mean } = samples[index];
    const errors = truth.flatMap((value, place) =>
      value === null || mean[place] === null ? [] : [Math.abs(value - mean[place])]);
    const mistake = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    said.textContent = errors.length ? `Mean absolute error ${number.format(mistake)}` : "No error is known.";
    canvas.ariaLabel = `History, forecast and what came of ${series}. ${said.textContent}`;
    chart.draw();
  });
}

function drawLabels(samples) {
  const right = samples.filter(({ label, prediction }) => label === prediction).length;
  const table = made("table", "");
  const head = made("tr", "");
  head.append(...["Text", "Label", "Prediction"].map((text) => made("th", text)));
  table.append(head, ...samples.map(({ text, label, prediction, score }) => {
    const row = made("tr", "");
    const [verdict, className] = label === prediction ? ["✓ right", "state succeeded"] : ["✗ wrong", "state failed"];
    const answer = made("td", `${prediction} ${score === null ? "–" : number.format(score)} `);
    answer.append(made("span", verdict, { className }));
    row.append(made("td", text), made("td", label), answer);
    return row;
  }));
  const scroll = made("div", "", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Held-out texts" });
  scroll.append(table);
  at("sample-view").replaceChildren(made("p", `${right} of these ${samples.length} are right.`), scroll);
}

at("sample")?.addEventListener("input", draw);
