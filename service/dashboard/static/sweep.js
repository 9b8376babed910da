// The page of a sweep: its ended trials as lines through what they tried to what came of it.

import { Chart } from "./charts.js";

const at = (name) => document.getElementById(name);
const NARROW = 500; // pixels: axes stand across it, not along

let drawn;
const ranges = {}; // what was dragged along each axis, by its id

const isNamed = (dimension) => dimension.type === "categorical";

function axes(paint) {
  const look = {
    nameTextStyle: { color: paint.text },
    axisLine: { lineStyle: { color: paint.quiet } },
    axisTick: { lineStyle: { color: paint.quiet } },
    axisLabel: { color: paint.text, textBorderWidth: 0 },
    areaSelectStyle: { color: paint.accent, borderColor: paint.accent, opacity: 0.3 },
  };
  const chosen = Object.entries(drawn.space).map(([path, dimension], dim) => ({
    ...look,
    dim,
    id: path,
    name: path.slice(path.lastIndexOf(".") + 1).replaceAll("_", " "),
    ...(isNamed(dimension)
      ? { type: "category", data: dimension.choices.map(String) }
      : { type: dimension.log ? "log" : "value", min: dimension.low, max: dimension.high, minInterval: dimension.type === "int" ? 1 : undefined }),
  }));
  return [...chosen, { ...look, dim: chosen.length, id: "", name: drawn.metric.replaceAll("_", " "), type: "value", scale: true }];
}

/** The values of a trial in the order of the axes. */
const place = (trial) => [
  ...Object.entries(drawn.space).map(([path, dimension]) =>
    isNamed(dimension) ? String(trial.params[path]) : trial.params[path]),
  trial.value,
];

const chart = new Chart(at("parallel"), (paint) => {
  const across = at("parallel").clientWidth < NARROW;
  return {
    tooltip: { show: false },
    parallel: across
      ? { layout: "vertical", left: 20, right: 90, top: 30, bottom: 30 }
      : { left: 60, right: 80, top: 40, bottom: 30 },
    parallelAxis: axes(paint),
    series: [{
      type: "parallel",
      inactiveOpacity: 0.1,
      activeOpacity: 1,
      data: drawn.trials.map((trial) => ({
        value: place(trial),
        lineStyle: { color: paint["series-1"], width: 2, opacity: 0.7, type: trial.state === "pruned" ? "dashed" : "solid" },
      })),
    }],
  };
});

/** Marks in the table the trials whose lines lie in all ranges. */
function mark() {
  const chosen = Object.values(ranges).some((intervals) => intervals.length);
  const places = chosen ? chart.chart.getModel().getSeriesByIndex(0).getRawIndicesByActiveState("active") : [];
  const rows = new Set(places.map((index) => `trial-${drawn.trials[index].number}`));
  for (const row of at("trials-table").tBodies[0].rows) row.classList.toggle("brushed", rows.has(row.id));
  at("clear").hidden = !chosen;
  at("brushed").textContent = chosen ? `${rows.size} of ${drawn.trials.length} trials lie in what was chosen.` : "";
}

/** Chooses on each axis what `ranges` says. */
function choose() {
  for (const [parallelAxisId, intervals] of Object.entries(ranges)) {
    chart.chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId, intervals });
  }
  mark();
}

function draw() {
  chart.draw();
  choose();
}

chart.chart.on("axisareaselected", ({ parallelAxisId, intervals }) => {
  ranges[parallelAxisId] = intervals;
  mark();
});
at("clear").addEventListener("click", () => {
  for (const id of Object.keys(ranges)) ranges[id] = [];
  choose();
  at("trials-table").closest(".scroll").focus(); // the button is gone
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", choose);

let before;
function read() {
  const text = at("drawn").textContent;
  if (text === before) {
    mark();
    return;
  }
  before = text;
  drawn = JSON.parse(text);
  draw();
}

document.body.addEventListener("htmx:after:swap", read);
read();
