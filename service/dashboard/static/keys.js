// Makes a key and shows it, once.

import { call } from "./api.js";
import { copy } from "./copy.js";
import { fault } from "./fault.js";

const at = (name) => document.getElementById(name);
const form = at("create");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  fault(form.querySelector(".fault"), async () => {
    const given = new FormData(form);
    const scopes = given.getAll("scopes");
    if (scopes.length === 0) throw new Error("Choose at least one thing that the key may do.");
    const ends = given.get("expires_at");
    const made = await call("/api/v1/keys", {
      method: "POST",
      body: { name: given.get("name"), scopes, expires_at: ends ? new Date(ends).toISOString() : null },
    });
    form.reset();
    at("key").value = made.key;
    at("copied").textContent = "";
    at("made").hidden = false;
    at("made").focus();
    document.body.dispatchEvent(new CustomEvent("keys"));
  });
});
form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew

at("key").addEventListener("focus", () => at("key").select());
at("copy").addEventListener("click", () => copy(at("key").value, () => at("key").focus(), at("copied")));
