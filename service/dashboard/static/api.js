// Requests to the API with the cookie of the sign-in, and what they say when they fail.

const csrf = document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export class Problem extends Error {
  constructor(status, body) {
    const places = (body?.errors ?? []).map((each) => `${each.location}: ${each.message}`);
    const detail = body?.detail ?? `The service answered ${status}.`;
    super([detail, ...places].join("\n"));
    this.status = status;
    this.detail = detail;
    this.errors = body?.errors ?? [];
  }
}

/** The answer's JSON; null where it has none. Throws a Problem, or TypeError where nobody answers. */
export async function call(path, { method = "GET", headers = {}, body } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (method !== "GET") sent["X-CSRF-Token"] = csrf;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers: sent,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401) toSignIn();
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
  return answer.status === 204 ? null : answer.json();
}

/** A page of ours, to take parts of. Throws as `call` does. */
export async function page(path) {
  const answer = await fetch(path, { headers: { Accept: "text/html", "HX-Request": "true" } });
  if (answer.status === 401) toSignIn();
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** The server-sent events that a POST is answered with: {event, data}. Ends early with `stop`. */
export async function* stream(path, body, stop) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { Accept: "text/event-stream", "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify(body),
      signal: stop,
    });
    if (answer.status === 401) toSignIn();
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const blocks = (rest + piece.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
        if (event) yield { event, data: JSON.parse(data) };
      }
    }
  } catch (problem) {
    if (!stop.aborted) throw problem;
  }
}

/** Sends a form with files; `told` hears the share that is sent, 0 to 1. Otherwise as `call`. */
export function upload(path, form, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRF-Token", csrf);
    request.upload.onprogress = (event) => told(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Error("The service does not answer, or refused the rest of the file."));
    request.onload = () => {
      if (request.status === 401) toSignIn();
      if (request.status < 300) resolve(request.response);
      else reject(new Problem(request.status, request.response));
    };
    request.send(form);
  });
}

let leaving = false;

/** Whether the page asks for nothing by itself any more: after a sign-out that would be refused. */
export function leave(yes) {
  leaving = yes;
  document.dispatchEvent(new Event("visibilitychange")); // ends what is followed, or goes on with it
}

document.addEventListener("htmx:before:request", (event) => { if (leaving) event.preventDefault(); });

export function toSignIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/**
 * Follows server-sent events until the server says that there is no more (204), which `over` hears. A
 * connection that is lost is made anew, after a longer wait each time; `path` is asked for anew too.
 * A tab that nobody sees has none: browsers allow a service six at a time, for all its tabs together.
 */
export function follow(path, listeners, over) {
  let source;
  let timer;
  let wait = 1000;
  let ended = false;
  const connect = () => {
    clearTimeout(timer);
    source?.close();
    if (ended || leaving || document.hidden) return;
    const mine = new EventSource(path());
    source = mine;
    mine.onopen = () => {
      wait = 1000;
      heard();
    };
    for (const [name, listen] of Object.entries(listeners)) {
      mine.addEventListener(name, (event) => listen(JSON.parse(event.data)));
    }
    mine.onerror = async () => {
      mine.close(); // or the browser would come back by itself, always after the same time
      const answer = await fetch(path(), { headers: { Accept: "text/event-stream" } }).catch(() => null);
      answer?.body?.cancel();
      if (answer?.status === 401) toSignIn();
      if (source !== mine) return; // it was hidden and seen again meanwhile
      ended = [204, 401, 403, 404].includes(answer?.status);
      if (answer?.status === 204) {
        heard();
        over?.();
      }
      if (ended) return;
      if (!answer?.ok) lost();
      timer = setTimeout(connect, wait * (0.75 + Math.random() / 2));
      wait = Math.min(30_000, wait * 2);
    };
  };
  document.addEventListener("visibilitychange", connect);
  connect();
}

const banner = () => document.getElementById("connection");

function lost() {
  const shown = banner();
  if (shown === null) return;
  shown.textContent = "The service does not answer. What you see may be old; trying again.";
  shown.hidden = false;
}

function heard() {
  const shown = banner();
  if (shown !== null) shown.hidden = true;
}
