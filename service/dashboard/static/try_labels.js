// Labels of a text with their scores, and what each of its tokens adds to one of them.

import { call } from "./api.js";
import { bars, percent, visible } from "./bars.js";
import { fault } from "./fault.js";
import { pointable } from "./tokens.js";

const at = (name) => document.getElementById(name);
const form = at("try");
const MOST_LABELS = 8; // to choose from, the likeliest
const STEPS = 4; // of colour on each side
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });
const signed = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3, signDisplay: "exceptZero" });
let text; // that was labelled
let label; // that tokens add to
let words = []; // {start, end, text, added}
let asked = 0; // an answer that was overtaken is not shown

async function ask(changes) {
  const body = { model: form.dataset.model, text, ...changes };
  const { model, results: [found] } = await call("/api/v1/sentiment", { method: "POST", body });
  return { model, found };
}

async function classify() {
  const mine = ++asked;
  const well = await fault(form.querySelector(".fault"), async () => {
    text = at("text").value;
    const { model, found } = await ask({ all_scores: true });
    if (mine !== asked) return;
    bars(at("scores"), found.scores.map(({ label, score }) => [label, score]));
    at("read").textContent = [
      `${model.name}, version ${model.version}, knows ${percent.format(found.known_share)} of the tokens.`,
      found.low_confidence ? "That is too few to judge the text." : "",
      found.truncated ? "The text is longer than it reads: only its ends counted." : "",
    ].join(" ");
    offer(found.scores);
  });
  if (well && mine === asked) await explain(at("labels").firstElementChild.textContent);
}

/** A button for each label. */
function offer(scores) {
  at("labels").replaceChildren(...scores.slice(0, MOST_LABELS).map(({ label }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", () => explain(label));
    return button;
  }));
}

async function explain(wanted) {
  const mine = ++asked;
  label = wanted;
  for (const button of at("labels").children) {
    button.setAttribute("aria-pressed", String(button.textContent === label));
  }
  clear();
  await fault(at("why-fault"), async () => {
    const { found } = await ask({ attributions: true, attribution_label: label });
    if (mine === asked) show(found);
  });
}

function clear() {
  words = [];
  at("tokens").replaceChildren();
  at("added").replaceChildren();
  for (const name of ["token", "sum"]) at(name).textContent = "";
}

/** Tokens that share characters, as the bytes of one do, are shown as one. */
function joined(tokens) {
  const result = [];
  for (const { start, end, text, attribution } of tokens) {
    const last = result.at(-1);
    if (last !== undefined && start < last.end) last.added += attribution;
    else result.push({ start, end, text, added: attribution });
  }
  return result;
}

function show({ attributions: { tokens, log_odds, baseline, gap }, truncated }) {
  words = joined(tokens);
  const characters = Array.from(text); // as the service counts them
  const most = Math.max(...words.map(({ added }) => Math.abs(added)));
  const place = at("tokens");
  let end = 0;
  const between = (start) => {
    const span = Object.assign(document.createElement("span"), { textContent: characters.slice(end, start).join("") });
    if (truncated && /\S/u.test(span.textContent)) span.className = "unread";
    place.append(span);
  };
  words.forEach((word, index) => {
    between(word.start);
    const span = Object.assign(document.createElement("span"), { textContent: word.text });
    span.dataset.index = index;
    span.dataset.adds = Math.round((STEPS * word.added) / most) || 0;
    place.append(span);
    end = word.end;
  });
  between(characters.length);
  const sum = log_odds - baseline - gap;
  at("sum").textContent = [
    `Log-odds of ${label}: ${number.format(log_odds)}, that is ${percent.format(1 / (1 + Math.exp(-log_odds)))}. `,
    `Without any word ${number.format(baseline)}, the tokens add ${signed.format(sum)}; `,
    `the attributions miss ${number.format(Math.abs(gap))} of it.`,
    truncated ? " What is in italics was not read." : "",
  ].join("");
  table();
}

function table() {
  const row = (kind, cells) => {
    const made = document.createElement("tr");
    made.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text })));
    return made;
  };
  at("added").replaceChildren(
    row("th", ["Token", "Characters", "Adds"]),
    ...words.map(({ start, end, text, added }) => row("td", [visible(text), `${start} to ${end}`, signed.format(added)])),
  );
}

pointable(at("tokens"), (index) => {
  const { text, added } = words[index];
  at("token").textContent = `${visible(text)}: ${signed.format(added)} ${added < 0 ? "against" : "for"} ${label}`;
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
classify();
