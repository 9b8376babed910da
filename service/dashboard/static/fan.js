// A series and its forecast: the history, the median, and intervals that widen around it.

import { axis } from "./charts.js";

export const LEVELS = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975];
const INTERVALS = [[0.025, 0.975, "95 %"], [0.1, 0.9, "80 %"], [0.25, 0.75, "50 %"]]; // outermost first
const SHOWN = 2000; // timesteps of the history
const AT_FIRST = 240; // of them before somebody scrolls

const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 5 });

/**
 * ECharts' options for `history` (numbers, null: missing) and a forecast, or none, that follows it.
 * `truth`: the values that came; `before`: how many timesteps there are before the history.
 */
export function fan(paint, history, forecast, { truth = [], before = 0 } = {}) {
  const past = history.slice(-SHOWN);
  const first = before + history.length - past.length + 1;
  const ahead = forecast?.mean.length ?? 0;
  const steps = Array.from({ length: past.length + ahead }, (_, index) => first + index);
  const gap = new Array(Math.max(0, past.length - 1)).fill(null);
  const joint = past.length ? [past.at(-1)] : []; // the forecast goes on from the last value
  const after = (values) => [...gap, ...joint, ...values];
  const middle = forecast?.quantiles[0.5] ?? forecast?.mean ?? [];
  const title = !forecast || 0.5 in forecast.quantiles ? "median" : "forecast";
  const intervals = INTERVALS.filter(([low, high]) =>
    !forecast || (low in forecast.quantiles && high in forecast.quantiles));
  const bands = !forecast ? [] : intervals.flatMap(([low, high, name]) => {
    const [bottom, top] = [forecast.quantiles[low], forecast.quantiles[high]];
    const band = { type: "line", stack: name, stackStrategy: "all", showSymbol: false, silent: true, lineStyle: { opacity: 0 } };
    const start = joint[0] === null ? [null] : joint.map(() => 0);
    return [
      { ...band, data: after(bottom) },
      { ...band, name, color: paint["series-2"], areaStyle: { color: paint["series-2"], opacity: 0.2 },
        data: [...gap, ...start, ...top.map((value, index) => (value === null || bottom[index] === null ? null : value - bottom[index]))] },
    ];
  });
  const figure = (value) => (value === null ? "missing" : number.format(value));
  const told = (place) => {
    const index = place - past.length;
    if (index < 0) return figure(past[place]);
    const interval = ([low, high, name]) =>
      `${name}: ${figure(forecast.quantiles[low][index])} to ${figure(forecast.quantiles[high][index])}`;
    const came = index < truth.length ? [`what came: ${figure(truth[index])}`] : [];
    return [...came, `${title}: ${figure(middle[index])}`, ...intervals.map(interval)].join("\n");
  };
  return {
    grid: { left: 64, right: 16, top: 60, bottom: 70 }, // under two rows of legend
    legend: { top: 0, textStyle: { color: paint.text }, data: ["history", ...(truth.length ? ["what came"] : []), title, ...intervals.map(([, , name], inside) => ({
      name, icon: "rect", itemStyle: { color: paint["series-2"], opacity: 1 - 0.8 ** (inside + 1) }, // as they overlap
    }))] },
    tooltip: {
      trigger: "axis", renderMode: "richText", backgroundColor: paint.surface, borderColor: paint.line,
      textStyle: { color: paint.text },
      formatter: ([{ dataIndex }]) => `timestep ${steps[dataIndex]}\n${told(dataIndex)}`,
    },
    xAxis: axis(paint, { type: "category", data: steps, boundaryGap: false }),
    yAxis: axis(paint, { type: "value", scale: true }),
    dataZoom: [
      { type: "inside", startValue: Math.max(0, past.length - AT_FIRST), endValue: steps.length - 1 },
      { type: "slider", bottom: 8, height: 22, textStyle: { color: paint.quiet } },
    ],
    series: [
      ...bands,
      { name: "history", type: "line", data: past, color: paint["series-1"], showSymbol: past.length < 3, lineStyle: { width: 1.75 } },
      { name: "what came", type: "line", data: truth.length ? after(truth) : [], color: paint["series-1"], symbol: "none", lineStyle: { width: 1.75, type: "dashed" } },
      { name: title, type: "line", data: forecast ? after(middle) : [], color: paint["series-2"], showSymbol: false, lineStyle: { width: 1.75 } },
    ],
  };
}
