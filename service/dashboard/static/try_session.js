// A live session: the network reads an input piece by piece, and says after each what it makes of it.

import { call } from "./api.js";
import { bars, visible } from "./bars.js";
import { axis, Chart } from "./charts.js";
import { fan, LEVELS } from "./fan.js";
import { fault } from "./fault.js";
import { forget, look } from "./hidden.js";
import { oneSeries, readSeries } from "./series.js";

const at = (name) => document.getElementById(name);
const form = at("try");
const { model, task } = form.dataset;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const PAUSE_MS = 300; // between the steps of Play
const LIVES_SECONDS = 900;
const MOST_DRAWN = 1; // tokens a step, once the text is read

const words = () => at("text").value.match(/\s*\S+\s*?(?=\s|$)|\s+$/g) ?? [];

/**
 * What each task does: `begin` reads the input and answers what the session must know at its start;
 * `next` is the body of the next step, undefined where there is none; `take` shows its answer.
 */
const series = {
  begin() {
    const all = readSeries(at("series").value, JSON.parse(form.dataset.columns));
    this.left = [...oneSeries(all, at("name").value)];
    this.read = [];
    this.first = true;
    const start = at("start")?.value;
    return start ? { start } : {};
  },
  next() {
    if (this.left.length === 0) return undefined;
    this.values = this.left.splice(0, this.first ? Math.ceil(this.left.length / 2) : 1);
    this.first = false;
    return { values: this.values, horizon: Number(at("horizon").value), quantiles: LEVELS };
  },
  take(result) {
    this.read.push(...this.values);
    at("position").textContent = result.timesteps;
    this.shown = result;
    at("live").hidden = false;
    this.chart ??= new Chart(at("live"), (paint) => fan(paint, this.read, this.shown));
    this.chart.draw();
  },
};

const labels = {
  begin() {
    this.left = words();
    this.read = [];
    return {};
  },
  next() {
    if (this.left.length === 0) return undefined;
    this.piece = this.left.shift();
    return { text: this.piece, all_scores: true };
  },
  take(result) {
    this.read.push({ word: this.piece.trim(), scores: result.scores });
    at("position").textContent = result.tokens;
    tell(this.piece);
    at("live").hidden = false;
    this.chart ??= new Chart(at("live"), (paint) => this.option(paint));
    this.chart.draw();
  },
  option(paint) {
    const names = this.read[0].scores.map(({ label }) => label).sort();
    const of = (row, name) => row.scores.find(({ label }) => label === name).score;
    return {
      color: [paint["series-1"], paint["series-2"], paint.accent, paint.quiet],
      legend: { top: 0, type: "scroll", textStyle: { color: paint.text } },
      grid: { left: 48, right: 16, top: 40, bottom: 40 },
      xAxis: axis(paint, { type: "category", data: this.read.map(({ word }) => word) }),
      yAxis: axis(paint, { type: "value", min: 0, max: 1 }),
      series: names.map((name) => ({
        name, type: "line", showSymbol: this.read.length < 50, data: this.read.map((row) => of(row, name)),
      })),
    };
  },
};

const text = {
  begin() {
    this.left = words();
    return {};
  },
  next() {
    this.piece = this.left.shift();
    const given = this.piece === undefined ? { max_new_tokens: MOST_DRAWN } : { text: this.piece };
    return { ...given, top: 8 };
  },
  take(result) {
    at("position").textContent = result.tokens;
    tell(this.piece ?? result.text, { drawn: this.piece === undefined });
    bars(at("next"), result.next.map(({ text, logprob }) => [visible(text), Math.exp(logprob)]));
  },
};

function tell(piece, { drawn = false } = {}) {
  at("so-far").hidden = false;
  const span = Object.assign(document.createElement("span"), { textContent: piece });
  if (!drawn) span.className = "prompt";
  at("so-far").append(span);
}

const steps = { "time-series-forecasting": series, "text-classification": labels, "text-generation": text }[task];
let session; // its id, while there is one
let seq = 0;
let playing = false;
let loop = Promise.resolve(); // of Play: it has ended only after its last step

function enable() {
  at("step").disabled = session === undefined || playing;
  at("play").disabled = session === undefined;
  at("play").setAttribute("aria-pressed", String(playing));
  at("play").textContent = playing ? "Pause" : "Play";
  at("end").disabled = session === undefined;
}

async function begin() {
  await end();
  const known = steps.begin();
  const made = await call("/api/v1/sessions", {
    method: "POST",
    body: { model, ttl_seconds: LIVES_SECONDS, ...known },
  });
  session = made.id;
  at("so-far").replaceChildren();
  forget();
  seq = 0;
  await step();
}

/** One step; false where there is nothing left to read. */
async function step() {
  const body = steps.next();
  if (body === undefined) {
    at("step").disabled = true;
    return false;
  }
  const answer = await call(`/api/v1/sessions/${session}/steps`, {
    method: "POST",
    body: { seq: seq + 1, ...body },
  });
  seq = answer.seq;
  at("seq").textContent = seq;
  at("expires").textContent = clock.format(new Date(answer.expires_at));
  steps.take(answer.result);
  await look(session);
  return true;
}

async function on() {
  while (playing && (await step())) {
    await new Promise((done) => { setTimeout(done, PAUSE_MS); });
  }
  playing = false;
}

async function play() {
  if (playing) {
    playing = false;
    return;
  }
  await paused();
  playing = true;
  enable();
  loop = on();
  await loop;
}

/** When nothing is under way any more. */
async function paused() {
  playing = false;
  await loop.catch(() => {}); // was shown where it was awaited
}

async function end() {
  await paused();
  const ended = session;
  session = undefined;
  if (ended !== undefined) await call(`/api/v1/sessions/${ended}`, { method: "DELETE" });
}

async function once() {
  await paused();
  await step();
}

for (const [name, act] of Object.entries({ begin, step: once, play, end })) {
  at(name).addEventListener("click", async () => {
    at(name).disabled = name !== "play";
    if (!(await fault(at("session-fault"), act))) playing = false;
    at(name).disabled = false;
    enable();
  });
}
