// The page of a job: its curves, its samples, its gradients through depth and time, and its events, as
// they come.

import { call, follow } from "./api.js";
import { Chart, axis } from "./charts.js";
import { CONTROLS, FIGURES, Measurements, SPARSE, line, points, scale, small, smooth, zoomed } from "./curves.js";
import * as samples from "./samples.js";

const id = document.getElementById("job").dataset.job;
const at = (name) => document.getElementById(name);
const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const measured = new Measurements();
let seen = 0;

function take(event) {
  seen = Math.max(seen, event.seq);
  if (event.type === "metrics") measured.take(event);
  else if (event.type === "sample") samples.take(event.data);
  else tell(event);
}

// Curves

const charts = {
  loss: new Chart(at("loss"), (paint, before) => {
    const raw = points(measured.steps, "loss");
    return {
      ...zoomed(paint, before),
      yAxis: [
        scale(paint, { name: "training loss" }),
        scale(paint, { name: "held out", splitLine: { show: false } }),
      ],
      series: [
        line("each step", raw, paint["series-1"], { lineStyle: { width: 1, opacity: 0.3 } }),
        line("training", smooth(raw), paint["series-1"]),
        line("held out", points(measured.evaluations, at("figure").value), paint["series-2"], { ...SPARSE, yAxisIndex: 1 }),
      ],
    };
  }),
};
for (const [name, title] of FIGURES) {
  charts[name] = new Chart(at(name), (paint) =>
    small(paint, title, [line(title, points(measured.steps, name), paint["series-1"])]));
}

// Gradients

const shown = () => measured.looks[Number(at("look").value)];

charts.gradients = new Chart(at("gradients"), (paint) => {
  const layers = shown()?.layers ?? [];
  const lags = Object.keys(layers[0]?.gradient_norms ?? {}).map(Number).sort((a, b) => a - b);
  const cells = layers.flatMap((layer, row) => {
    const norms = lags.map((lag) => layer.gradient_norms[lag]);
    const most = Math.max(...norms.filter(Number.isFinite), 0);
    return norms.map((norm, column) => {
      const decades = norm > 0 && most > 0 ? Math.max(-6, Math.log10(norm / most)) : -6;
      return { value: [column, row, decades], norm };
    });
  });
  return {
    grid: { left: 70, right: 16, top: 10, bottom: 80 },
    tooltip: {
      trigger: "item",
      renderMode: "richText",
      formatter: ({ data }) =>
        `layer ${layers[data.value[1]].layer}, ${lags[data.value[0]]} timesteps back: ${data.norm === null ? "not finite" : number.format(data.norm)}`,
    },
    xAxis: axis(paint, { type: "category", data: lags, name: "lag", nameLocation: "middle", nameGap: 24 }),
    yAxis: axis(paint, { type: "category", data: layers.map((layer) => `layer ${layer.layer}`) }),
    visualMap: {
      min: -6, max: 0, calculable: true, orient: "horizontal", left: "center", bottom: 0, itemHeight: 160,
      text: ["strongest", "a millionth of it"], textStyle: { color: paint.quiet },
      inRange: { color: [paint.surface, paint["series-1"]] },
    },
    series: [{ type: "heatmap", data: cells }],
  };
});

function drawLayers() {
  const look = shown();
  at("look-step").textContent = look ? `step ${look.step}` : "none yet";
  const table = at("layers");
  table.replaceChildren();
  if (!look) return;
  const row = (kind, texts) => {
    const made = document.createElement("tr");
    for (const text of texts) {
      const cell = document.createElement(kind);
      cell.textContent = text;
      made.append(cell);
    }
    table.append(made);
  };
  const each = (figures) =>
    Object.entries(figures).map(([gate, value]) => `${gate} ${value === null ? "–" : number.format(value)}`).join(", ") || "–";
  row("th", ["Layer", "Memory", "Saturated", "Spectral radius", "Dead units", "Update to weight"]);
  for (const layer of look.layers) {
    row("td", [
      layer.layer,
      layer.effective_memory === null ? "none" : `${layer.effective_memory} timesteps`,
      each(layer.gate_saturation),
      each(layer.spectral_radius),
      layer.dead_units === null ? "–" : `${number.format(100 * layer.dead_units)} %`,
      layer.update_ratio === null ? "–" : number.format(layer.update_ratio),
    ]);
  }
}

// Events

function tell(event) {
  const item = document.createElement("li");
  const when = document.createElement("span");
  when.className = "hint";
  when.textContent = `${clock.format(new Date(event.created_at))} `;
  const data = event.data;
  const text = {
    state: () => [data.from, data.to ?? data.state].filter(Boolean).join(" → ") + (data.reason ? `: ${data.reason}` : ""),
    checkpoint: () => `checkpoint at step ${data.step}`,
    alert: () => `${data.kind}${data.layer ? `, layer ${data.layer}` : ""}: ${data.message} ${data.remedy}`,
    message: () => data.text,
  }[event.type];
  item.append(when, text ? text() : JSON.stringify(data));
  at("event-list").prepend(item);
}

// Everything

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const slider = at("look");
    const atEnd = slider.value === slider.max;
    slider.max = Math.max(0, measured.looks.length - 1);
    if (atEnd) slider.value = slider.max;
    for (const chart of Object.values(charts)) chart.draw();
    drawLayers();
    samples.draw();
    const last = measured.steps.at(-1);
    at("latest").textContent = last
      ? `Step ${last.step}: loss ${number.format(last.loss)}`
      : "Nothing was measured yet.";
  });
}

for (const name of [...CONTROLS, "look"]) at(name).addEventListener("input", draw);

async function readLog() {
  if (!at("log").open) return;
  const place = at("log").querySelector("pre");
  try {
    const { text, truncated } = await call(`/api/v1/jobs/${id}/logs`);
    place.textContent = (truncated ? "…\n" : "") + (text || "Nothing was printed.");
  } catch (problem) {
    place.textContent = problem instanceof TypeError ? "The service does not answer." : problem.message;
  }
}
at("log").addEventListener("toggle", readLog);

/** All that happened so far, a page at a time; what comes after it is followed. */
async function load() {
  for (let more = true; more; ) {
    const page = await call(`/api/v1/jobs/${id}/events?after=${seen}&limit=1000`);
    page.data.forEach(take);
    more = page.has_more;
    draw();
  }
}

const live = (event) => {
  if (event.seq <= seen) return;
  take(event);
  draw();
};
let following = false;
function listen() {
  if (following) return;
  following = true;
  follow(
    () => `/api/v1/jobs/${id}/events?after=${seen}`,
    { state: live, metrics: live, sample: live, checkpoint: live, alert: live, message: live },
    () => { following = false; },
  );
}

draw();
await load();
listen();
document.body.addEventListener("htmx:after:swap", () => {
  readLog();
  if (at("job").dataset.ended === "false") listen(); // somebody tried it again
});
