// Trades a key for a cookie that scripts cannot read; the key itself is kept nowhere.

const form = document.getElementById("sign-in");
const fault = document.getElementById("fault");

/** The page that was asked for; never one of another site. */
function next() {
  const wanted = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
  return wanted.origin === location.origin ? wanted.pathname + wanted.search : "/";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  fault.hidden = true;
  const key = form.elements.key.value.trim();
  try {
    const answer = await fetch("/api/v1/browser-sessions", {
      method: "POST",
      headers: { Accept: "application/json", Authorization: `Bearer ${encodeURIComponent(key)}` },
    });
    if (answer.ok) {
      location.replace(next());
      return;
    }
    const problem = await answer.json().catch(() => null);
    fault.textContent = problem?.detail ?? `The service answered ${answer.status}.`;
  } catch {
    fault.textContent = "The service does not answer.";
  }
  fault.hidden = false;
  form.elements.key.select();
});
form.querySelector("[type=submit]").disabled = false; // until here a click would only load the page anew
