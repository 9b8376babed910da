// The page that compares jobs: the same figures of all of them, as they come.

import { call } from "./api.js";
import { Chart, DASHES, SERIES } from "./charts.js";
import { CONTROLS, FIGURES, Measurements, SPARSE, line, points, scale, small, smooth, zoomed } from "./curves.js";

const at = (name) => document.getElementById(name);
const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

const jobs = JSON.parse(at("jobs").textContent).map((job, index) => ({
  ...job,
  name: `${job.letter} ${job.model}`,
  colour: SERIES[index],
  dash: DASHES[index % DASHES.length],
  measured: new Measurements(),
  seen: 0,
  complete: false, // whether all was read after it had ended
}));

/** A line of a job: its colour, its dashes, and its letter at the end. */
const drawn = (paint, job, data, changes = {}) =>
  line(job.name, data, paint[job.colour], {
    lineStyle: { width: 1.75, type: job.dash },
    endLabel: { show: true, formatter: job.letter, color: paint.text },
    ...changes,
  });
const faint = (paint, job, data) =>
  line(job.name, data, paint[job.colour], { lineStyle: { width: 1, opacity: 0.25 }, tooltip: { show: false } });

const charts = [
  new Chart(at("loss"), (paint, before) => ({
    ...zoomed(paint, before),
    yAxis: scale(paint, { name: "training loss" }),
    series: jobs.flatMap((job) => {
      const raw = points(job.measured.steps, "loss");
      return [drawn(paint, job, smooth(raw)), faint(paint, job, raw)];
    }),
  })),
  new Chart(at("held-out"), (paint, before) => ({
    ...zoomed(paint, before),
    yAxis: scale(paint, { name: `held out: ${at("figure").value.replaceAll("_", " ")}` }),
    series: jobs.map((job) => drawn(paint, job, points(job.measured.evaluations, at("figure").value), SPARSE)),
  })),
  ...FIGURES.map(([name, title]) => new Chart(at(name), (paint) =>
    small(paint, title, jobs.map((job) => drawn(paint, job, points(job.measured.steps, name)))))),
];

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const chart of charts) chart.draw();
  });
}

/** All that a job measured since it was read last, a page at a time. */
async function read(job) {
  const ended = at(`result-${job.id}`).dataset.ended === "true";
  if (ended && job.complete) return;
  for (let more = true; more; ) {
    const page = await call(`/api/v1/jobs/${job.id}/metrics?after=${job.seen}&limit=5000`);
    for (const event of page.data) job.measured.take(event);
    job.seen = page.data.at(-1)?.seq ?? job.seen;
    more = page.has_more;
    if (page.data.length) draw();
  }
  job.complete = ended;
}

let reading = false;
let again = false; // whether there was news meanwhile
async function readAll() {
  again = reading;
  if (reading) return;
  reading = true;
  try {
    do {
      again = false;
      await Promise.all(jobs.map(read));
    } while (again);
    at("reading").textContent = jobs.every((job) => job.seen === 0) ? "Nothing was measured yet." : "";
  } catch (problem) {
    at("reading").textContent = problem instanceof TypeError ? "The service does not answer." : problem.message;
  }
  reading = false;
}

for (const name of CONTROLS) at(name).addEventListener("input", draw);
for (const option of document.querySelectorAll("option[data-time]")) {
  option.text += `, ${zoned.format(new Date(option.dataset.time))}`;
}
document.body.addEventListener("htmx:after:swap", readAll); // the results know by then who has ended
draw();
await readAll();
