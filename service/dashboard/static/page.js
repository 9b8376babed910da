// What every page does: news, times in the reader's zone, buttons that ask the API, sign-out.

import { call, follow, leave } from "./api.js";

const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.textContent = zoned.format(new Date(time.dateTime));
    time.title = time.dateTime;
  }
}

let hiding;
function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { place.hidden = true; }, 8000);
}

async function press(button, act) {
  button.disabled = true;
  try {
    await act();
  } catch (problem) {
    say(problem instanceof TypeError ? "The service does not answer." : problem.message);
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.post) {
    press(button, async () => {
      await call(button.dataset.post, { method: "POST" });
      document.body.dispatchEvent(new CustomEvent("jobs"));
    });
  }
  // Any other request of a button, with a body and a page to go to afterwards where it names them.
  if (button?.dataset.request) {
    button.closest("dialog")?.close();
    press(button, async () => {
      const { request, to, body, then } = button.dataset;
      await call(to, { method: request, body: body === undefined ? undefined : JSON.parse(body) });
      if (then) location.assign(then);
      else document.body.dispatchEvent(new CustomEvent("jobs"));
    });
  }
  if (button?.dataset.ask) document.getElementById(button.dataset.ask).showModal();
  if (button?.dataset.signOut) {
    const which = button.dataset.signOut === "current" ? "/current" : "";
    press(button, async () => {
      leave(true);
      try {
        await call(`/api/v1/browser-sessions${which}`, { method: "DELETE" });
      } catch (problem) {
        leave(false);
        throw problem;
      }
      location.replace("/sign-in");
    });
  }
});

// A form of filters: what is empty is left out of the address.
document.addEventListener("change", (event) => {
  const form = event.target.matches("[data-submit]") ? event.target.form : null;
  if (form === null) return;
  const chosen = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(chosen).toString();
  location.assign(form.getAttribute("action") + (query ? `?${query}` : ""));
});

document.body.addEventListener("htmx:after:swap", () => localize(document));
document.body.addEventListener("htmx:before:response", (event) => {
  if (event.detail.ctx.response?.raw?.status === 401) location.reload();
});
// Some figures change without news: pages that are looked at ask for them now and then.
setInterval(() => { if (!document.hidden) document.body.dispatchEvent(new CustomEvent("moment")); }, 5000);
// A page that the browser kept from before a sign-out shows nothing of it.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

localize(document);
if (document.querySelector('[hx-trigger~="jobs"]') !== null) {
  follow(() => "/api/v1/changes", {
    jobs: () => document.body.dispatchEvent(new CustomEvent("jobs")),
  });
}
