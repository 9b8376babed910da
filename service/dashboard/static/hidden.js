// The hidden state of a live session: the units of one layer, step by step.

import { call } from "./api.js";
import { axis, Chart } from "./charts.js";

const at = (name) => document.getElementById(name);
const MOST_STEPS = 60; // are kept, the newest
const MOST_UNITS = 128; // are drawn, the first
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });

let kept = []; // {seq, layers}
let chart;

const layer = () => Number(at("layer").value) || 0;
const units = (state) => state.layers[layer()];

/** Another session begins. */
export function forget() {
  kept = [];
  at("inside").hidden = true;
}

/** Asks where the session stands, and draws it. */
export async function look(session) {
  const { seq, layers } = await call(`/api/v1/sessions/${session}/state`);
  kept = [...kept, { seq, layers }].slice(-MOST_STEPS);
  const choice = at("layer");
  if (choice.options.length !== layers.length) {
    choice.replaceChildren(...layers.map((_, index) => new Option(index + 1, index)));
  }
  at("inside").hidden = false;
  draw();
}

function draw() {
  chart ??= new Chart(at("state"), option);
  chart.draw();
  at("state-told").textContent = told();
}

function option(paint) {
  const shown = units(kept[0]).slice(0, MOST_UNITS);
  const cells = kept.flatMap((state, column) =>
    units(state).slice(0, MOST_UNITS).map((value, row) => [column, row, value]));
  const most = Math.max(...cells.map(([, , value]) => Math.abs(value)), 1e-9);
  return {
    grid: { left: 56, right: 16, top: 10, bottom: 84 },
    tooltip: {
      trigger: "item",
      renderMode: "richText",
      formatter: ({ data: [column, row, value] }) => `step ${kept[column].seq}, unit ${row + 1}: ${number.format(value)}`,
    },
    xAxis: axis(paint, { type: "category", data: kept.map(({ seq }) => seq), name: "step", nameLocation: "middle", nameGap: 24 }),
    yAxis: axis(paint, {
      type: "category", data: shown.map((_, row) => row + 1), name: "unit", nameLocation: "middle", nameGap: 36,
      axisLabel: { color: paint.quiet, interval: Math.ceil(shown.length / 8) - 1 },
    }),
    visualMap: {
      min: -most, max: most, precision: 2, calculable: true, orient: "horizontal", left: "center", bottom: 0, itemHeight: 120,
      textStyle: { color: paint.quiet },
      inRange: { color: [paint["series-2"], paint.surface, paint["series-1"]] },
    },
    series: [{ type: "heatmap", data: cells }],
  };
}

/** The newest step in words. */
function told() {
  const now = units(kept.at(-1));
  const before = kept.length > 1 ? units(kept.at(-2)) : now.map(() => 0);
  const moves = now.map((value, unit) => Math.abs(value - before[unit]));
  const unit = moves.indexOf(Math.max(...moves));
  return [
    `After step ${kept.at(-1).seq} the ${now.length} units of layer ${layer() + 1} lie between `,
    `${number.format(Math.min(...now))} and ${number.format(Math.max(...now))}. Unit ${unit + 1} moved most, `,
    `from ${number.format(before[unit])} to ${number.format(now[unit])}.`,
    now.length > MOST_UNITS ? ` The first ${MOST_UNITS} are drawn.` : "",
  ].join("");
}

at("layer").addEventListener("change", draw);
