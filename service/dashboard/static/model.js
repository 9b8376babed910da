// The page of a model: an alias of any name is pointed at the version that is shown, and its card written.

import { call } from "./api.js";
import { fault } from "./fault.js";

/** A form that asks the API when it is sent; the page then shows what came of it. */
function form(id, ask) {
  const found = document.getElementById(id);
  found.addEventListener("submit", (event) => {
    event.preventDefault();
    fault(found.querySelector(".fault"), async () => {
      await ask(found);
      document.body.dispatchEvent(new CustomEvent("jobs"));
    });
  });
  found.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
}

form("alias", async (alias) => {
  const { model, version } = alias.dataset;
  const name = encodeURIComponent(alias.elements.alias.value);
  await call(`/api/v1/models/${model}/aliases/${name}`, { method: "PUT", body: { version: Number(version) } });
  alias.reset();
});
form("write-card", async (card) => {
  const text = card.elements.card.value;
  await call(card.dataset.to, { method: "PUT", body: { card: text.trim() === "" ? null : text } });
});
