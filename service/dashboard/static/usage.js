// The page of what was used: one measure by day, the keys on top of each other.

import { Chart, SERIES, axis } from "./charts.js";

const at = (name) => document.getElementById(name);
const report = JSON.parse(at("report").textContent);
const place = (key, day) => `${key} ${day}`;
const rows = new Map(report.data.map((row) => [place(row.key, row.day), row]));
const names = new Map(report.data.map((row) => [row.key, row.key_name ?? "no key"]));

const days = [];
for (let day = new Date(report.since); day <= new Date(report.until); day.setUTCDate(day.getUTCDate() + 1)) {
  days.push(day.toISOString().slice(0, 10));
}

const chart = new Chart(at("days"), (paint) => {
  const measure = at("measure").value;
  return {
    grid: { left: 60, right: 16, top: 34, bottom: 30 },
    legend: { type: "scroll", top: 0, textStyle: { color: paint.text } },
    xAxis: axis(paint, { type: "category", data: days }),
    yAxis: axis(paint, { type: "value" }),
    series: [...names].map(([key, name], index) => ({
      name, id: key ?? "", type: "bar", stack: "all", color: paint[SERIES[index % SERIES.length]],
      itemStyle: { borderColor: paint.surface, borderWidth: 1 },
      data: days.map((day) => rows.get(place(key, day))?.[measure] ?? 0),
    })),
  };
});

at("measure").addEventListener("input", () => chart.draw());
chart.draw();
