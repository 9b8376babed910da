// Labels of a text, with their scores.

import { call } from "./api.js";
import { bars, percent } from "./bars.js";
import { fault } from "./fault.js";

const form = document.getElementById("try");

async function classify() {
  await fault(form.querySelector(".fault"), async () => {
    const text = document.getElementById("text").value;
    const body = { model: form.dataset.model, text, all_scores: true };
    const { model, results: [found] } = await call("/api/v1/sentiment", { method: "POST", body });
    bars(document.getElementById("scores"), found.scores.map(({ label, score }) => [label, score]));
    document.getElementById("read").textContent = [
      `${model.name}, version ${model.version}, knows ${percent.format(found.known_share)} of the words.`,
      found.low_confidence ? "That is too few to judge the text." : "",
      found.truncated ? "The text is longer than it reads: only its ends counted." : "",
    ].join(" ");
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
classify();
