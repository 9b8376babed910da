// The page of settings: shows those that have the words, or were changed.

const at = (name) => document.getElementById(name);
const form = at("find");
const settings = [...document.querySelectorAll(".setting")];

function find() {
  const words = form.elements.text.value.toLowerCase().split(/\s+/);
  const changed = form.elements.changed.checked;
  for (const setting of settings) {
    const text = setting.textContent.toLowerCase();
    setting.hidden = !words.every((word) => text.includes(word)) || (changed && !("changed" in setting.dataset));
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = group.querySelector(".setting:not([hidden])") === null;
  }
  const left = settings.filter((setting) => !setting.hidden).length;
  at("found").textContent = left === settings.length ? `${left} settings` : `${left} of ${settings.length} settings`;
}

form.addEventListener("input", find);
form.addEventListener("submit", (event) => event.preventDefault());
find(); // a browser that comes back may have kept what was typed
