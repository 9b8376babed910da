// The page of a data set: its plots, and its deletion after a question.

import { call } from "./api.js";

const at = (id) => document.getElementById(id);
const plots = JSON.parse(at("plots").textContent);

const sure = at("sure");
if (sure) {
  at("delete").addEventListener("click", () => sure.showModal());
  at("delete").disabled = false;
  at("keep").addEventListener("click", () => sure.close());
  at("really").addEventListener("click", async () => {
    at("really").disabled = true;
    try {
      await call(`/api/v1/datasets/${sure.dataset.dataset}`, { method: "DELETE" });
      location.replace("/datasets");
    } catch (problem) {
      at("fault").textContent = problem instanceof TypeError ? "The service does not answer." : problem.message;
      at("fault").hidden = false;
      at("really").disabled = false;
    }
  });
}

// The charts are most of what has to be read, so they come last.
const { Chart, DASHES, SERIES, axis } = await import("./charts.js");

if (at("lines") && plots.series) {
  const { axis: kind, lines } = plots.series;
  new Chart(at("lines"), (paint) => ({
    grid: { left: 60, right: 20, top: 40, bottom: 70 },
    legend: { type: "scroll", top: 0, textStyle: { color: paint.text } },
    xAxis: axis(paint, { type: kind, ...(kind === "value" ? { min: "dataMin", max: "dataMax", name: "timestep", nameLocation: "middle", nameGap: 24 } : {}) }),
    yAxis: axis(paint, { type: "value", scale: true }),
    dataZoom: [
      { type: "inside", filterMode: "none" },
      { type: "slider", bottom: 8, height: 22, filterMode: "none", textStyle: { color: paint.quiet } },
    ],
    series: lines.map(({ name, points }, index) => ({
      name,
      type: "line",
      data: points,
      connectNulls: false,
      showSymbol: points.length < 40,
      symbolSize: 4,
      lineStyle: { width: 1.5, type: DASHES[index % DASHES.length] },
      color: paint[SERIES[index]],
    })),
  })).draw();
}

for (const [id, bars, things, unit] of [
  ["series-lengths", plots.series_lengths, "series", "timesteps"],
  ["text-lengths", plots.text_lengths, "texts", "characters"],
]) {
  if (at(id) === null) continue;
  new Chart(at(id), (paint) => ({
    grid: { left: 50, right: 16, top: 30, bottom: 40 },
    xAxis: axis(paint, { type: "category", data: bars.map(([name]) => name), name: unit, nameLocation: "middle", nameGap: 24 }),
    yAxis: axis(paint, { type: "value", name: things, minInterval: 1 }),
    series: [{ name: things, type: "bar", data: bars.map(([, count]) => count), color: paint["series-1"], barCategoryGap: "8%" }],
  })).draw();
}
