// The request of a job out of a form, and the same request written for other programs.

const put = (body, path, value) => {
  const names = path.split(".");
  const last = names.pop();
  let place = body;
  for (const name of names) {
    if (place[name] === null) return;
    place = place[name] ??= {};
  }
  place[last] = value;
};

const list = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);

const READ = {
  integer: Number,
  number: Number,
  text: String,
  choice: String,
  boolean: JSON.parse,
  group: JSON.parse,
  json: JSON.parse,
  texts: list,
  integers: (text) => list(text).map(Number),
};

export class WrongField extends Error {
  constructor(path, message) {
    super(`${path} ${message}.`);
    this.path = path;
    this.reason = message;
  }
}

/** What somebody chose, and nothing else. Throws a WrongField for what cannot be sent at all. */
export function choices(form) {
  const body = {};
  for (const control of form.querySelectorAll("[data-path]")) {
    const { path, kind } = control.dataset;
    const nothing = form.querySelector(`[data-null="${path}"]`)?.checked;
    if (control.validity.badInput) throw new WrongField(path, "is not a number");
    if (nothing) {
      put(body, path, null);
    } else if (control.value.trim() !== "") {
      try {
        put(body, path, READ[kind](control.value.trim()));
      } catch {
        throw new WrongField(path, "is not JSON");
      }
    }
  }
  return body;
}

/** Puts values by path into the form. */
export function fill(form, values) {
  for (const control of form.querySelectorAll("[data-path]")) {
    const { path, kind } = control.dataset;
    if (!(path in values)) continue;
    const value = values[path];
    const nothing = form.querySelector(`[data-null="${path}"]`);
    if (value === null) {
      if (nothing) nothing.checked = true;
      if (kind === "group") control.value = "null";
    } else if (kind === "group") {
      control.value = "{}";
    } else if (Array.isArray(value) && kind !== "json") {
      control.value = value.join(", ");
    } else {
      control.value = typeof value === "object" ? JSON.stringify(value) : String(value);
    }
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** JSON as Python writes it; `indent` spaces before each line but the first. */
function python(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, indent)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = " ".repeat(indent + 4);
  const lines = Object.entries(value).map(
    ([name, each]) => `${inner}${JSON.stringify(name)}: ${python(each, indent + 4)},\n`,
  );
  return lines.length ? `{\n${lines.join("")}${" ".repeat(indent)}}` : "{}";
}

/** Each choice by itself; words of somebody's own may have dots, and stay together. */
const leaves = (value, path) =>
  path[0] !== "metadata" && value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length
    ? Object.entries(value).flatMap(([name, each]) => leaves(each, [...path, name]))
    : [[path.join("."), value]];

// The command line has options of its own for these, which come after what is set.
const OPTIONS = { task: "--task", dataset: "--dataset", model: "--model", base_model: "--base-model", device: "--device", priority: "--priority" };

export const PROGRAMS = {
  curl: (body) =>
    [
      `curl ${location.origin}/api/v1/jobs`,
      '-H "Authorization: Bearer $REPRISE_API_KEY"',
      '-H "Content-Type: application/json"',
      `-d ${quoted(JSON.stringify(body, null, 2))}`,
    ].join(" \\\n  "),
  python: (body) =>
    `import os

import httpx

answer = httpx.post(
    ${JSON.stringify(`${location.origin}/api/v1/jobs`)},
    headers={"Authorization": f"Bearer {os.environ['REPRISE_API_KEY']}"},
    json=${python(body, 4)},
    timeout=60,
)
answer.raise_for_status()
print(answer.json()["id"])`,
  cli: (body) =>
    [
      `REPRISE_URL=${location.origin} reprise jobs submit`,
      ...Object.entries(body)
        .filter(([name, value]) => name in OPTIONS && value !== null)
        .map(([name, value]) => `${OPTIONS[name]} ${quoted(String(value))}`),
      ...Object.entries(body)
        .filter(([name]) => !(name in OPTIONS))
        .flatMap(([name, value]) => leaves(value, [name]))
        .map(([path, value]) => `--set ${quoted(`${path}=${JSON.stringify(value)}`)}`),
    ].join(" \\\n  "),
};
