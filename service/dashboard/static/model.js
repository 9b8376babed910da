// The page of a model: an alias of any name is pointed at the version that is shown.

import { call } from "./api.js";
import { fault } from "./fault.js";

const form = document.getElementById("alias");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { model, version } = form.dataset;
  const alias = encodeURIComponent(form.elements.alias.value);
  fault(form.querySelector(".fault"), async () => {
    await call(`/api/v1/models/${model}/aliases/${alias}`, {
      method: "PUT",
      body: { version: Number(version) },
    });
    form.reset();
    document.body.dispatchEvent(new CustomEvent("jobs"));
  });
});
form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
