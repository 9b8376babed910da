// A text that is drawn token by token, each with the probability that the model gave it.

import { stream } from "./api.js";
import { percent, visible } from "./bars.js";
import { fault } from "./fault.js";
import { pointable } from "./tokens.js";

const at = (name) => document.getElementById(name);
const form = at("try");
const LIKELIEST = 5;
let stop = new AbortController();
let drawn = []; // {text, logprob, likeliest}

function add({ text, logprob, likeliest }) {
  const span = Object.assign(document.createElement("span"), { textContent: text });
  if (logprob !== undefined) {
    // From 0, at most as probable as 1 in 1,000, to 4, nearly certain.
    span.dataset.likely = Math.max(0, Math.min(4, Math.floor(4 + (4 * logprob) / Math.log(1000) + 0.5)));
    span.dataset.index = drawn.length;
    drawn.push({ text, logprob, likeliest });
  }
  at("tokens").append(span);
}

pointable(at("tokens"), (index) => {
  const { text, logprob, likeliest } = drawn[index];
  const others = likeliest.map((other) => `${visible(other.text)} ${percent.format(Math.exp(other.logprob))}`);
  at("token").textContent =
    `${visible(text)}: ${percent.format(Math.exp(logprob))}. The likeliest here were ${others.join(", ")}.`;
});

/** What the controls say; those that are empty are left to the service. */
function sampling() {
  const names = ["max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"];
  const given = names.filter((name) => at(name).value !== "");
  return Object.fromEntries(given.map((name) => [name, Number(at(name).value)]));
}

async function write() {
  stop = new AbortController();
  const prompt = at("text").value;
  const body = { model: form.dataset.model, prompt, ...sampling(), stream: true, logprobs: LIKELIEST };
  drawn = [];
  at("token").textContent = "";
  at("read").textContent = "Writing…";
  at("tokens").replaceChildren(Object.assign(document.createElement("span"), { textContent: prompt, className: "prompt" }));
  const began = performance.now();
  let ended = "stopped";
  for await (const { event, data } of stream("/api/v1/generations", body, stop.signal)) {
    if (event === "token") add(data);
    if (event === "error") throw new Error(data.detail);
    if (event === "done") ended = { length: "as long as asked for", stop: "stopped by its text" }[data.choices[0].finish_reason] ?? "ended";
  }
  const seconds = (performance.now() - began) / 1000;
  at("read").textContent = `${drawn.length} tokens in ${seconds.toFixed(1)} s, ${ended}.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  at("stop").disabled = false;
  const well = await fault(form.querySelector(".fault"), write);
  if (!well) at("read").textContent = "";
  button.disabled = false;
  at("stop").disabled = true;
});
form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
at("stop").addEventListener("click", () => stop.abort());
