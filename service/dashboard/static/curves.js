// Curves of what trainings measured, over steps or time, with the controls of curves.html.

import { axis } from "./charts.js";

const at = (name) => document.getElementById(name);

export const CONTROLS = ["logarithmic", "smoothing", "across", "figure"];
export const FIGURES = [
  ["learning_rate", "Learning rate"],
  ["gradient_norm", "Gradient norm"],
  ["throughput", "Timesteps a second"],
];

/** What one job measured, in the order of its events. */
export class Measurements {
  steps = []; // {step, seconds, loss, learning_rate, gradient_norm, throughput}
  evaluations = []; // {step, seconds, and each figure of the held-out part by its name}
  looks = []; // diagnostics, as they were measured
  #began; // ms, of the first measurement

  /** Takes an event of the type `metrics`. */
  take({ data, created_at }) {
    const time = Date.parse(data.at ?? created_at);
    this.#began ??= time;
    const seconds = (time - this.#began) / 1000;
    if (data.kind === "step") {
      this.steps.push({ ...data, seconds, throughput: data.timesteps_per_second ?? data.throughput });
    } else if (data.kind === "evaluation") {
      this.evaluations.push({ ...data.metrics, step: data.step, seconds });
      offer(Object.keys(data.metrics));
    } else if (data.kind === "diagnostics") {
      this.looks.push(data);
    }
  }
}

/** Puts the names of held-out figures into the choice of the one that is drawn: at first the loss. */
function offer(names) {
  const choice = at("figure");
  const known = new Set([...choice.options].map((option) => option.value));
  for (const name of names) {
    if (known.has(name)) continue;
    choice.add(new Option(name.replaceAll("_", " "), name, false, name.startsWith("loss") && known.size === 0));
  }
}

export const points = (rows, name) =>
  rows.filter((row) => Number.isFinite(row[name])).map((row) => [row[at("across").value], row[name]]);

/** Exponential moving average of the chosen weight, corrected for its beginning. */
export function smooth(rows) {
  const weight = Number(at("smoothing").value);
  let mean = 0;
  let total = 0;
  return rows.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return [x, mean / total];
  });
}

export const line = (name, data, color, changes = {}) => ({
  name, data, type: "line", showSymbol: false, sampling: "lttb", color,
  lineStyle: { width: 1.75 }, ...changes,
});

/** A held-out figure has few points: each is shown. */
export const SPARSE = { showSymbol: true, symbolSize: 5, sampling: undefined };

export const scale = (paint, changes) =>
  axis(paint, { type: at("logarithmic").checked ? "log" : "value", scale: true, ...changes });

/**
 * A large chart with a legend, to be zoomed by wheel, fingers or its slider; it lacks series and `yAxis`.
 * What somebody chose of it `before` stays.
 */
export function zoomed(paint, before) {
  const { start, end } = before?.dataZoom?.[0] ?? {};
  const range = { filterMode: "none", start, end };
  return {
    grid: { left: 60, right: 60, top: 54, bottom: 70 },
    legend: {
      type: "scroll", top: 0, textStyle: { color: paint.text }, pageTextStyle: { color: paint.quiet },
      selected: before?.legend?.[0]?.selected,
    },
    xAxis: axis(paint, { type: "value", min: "dataMin", max: "dataMax", name: at("across").value }),
    dataZoom: [
      { ...range, type: "inside" },
      { ...range, type: "slider", bottom: 8, height: 22, textStyle: { color: paint.quiet } },
    ],
  };
}

/** A small chart under its title. */
export const small = (paint, title, series) => ({
  title: { text: title, textStyle: { color: paint.quiet, fontSize: 13, fontWeight: 600 } },
  grid: { left: 60, right: 16, top: 34, bottom: 30 },
  xAxis: axis(paint, { type: "value", min: "dataMin", max: "dataMax" }),
  yAxis: axis(paint, { type: "value", scale: true }),
  series,
});
