// Series out of what a person pastes: numbers, a table with a header, or JSON Lines.

const MISSING = new Set(["", "na", "nan", "null", "none", "-"]);
const VALUES = ["value", "values", "target", "y"];
const NAMES = ["series", "id", "unique_id", "name", "item"];

const isNumber = (text) => MISSING.has(text.toLowerCase()) || Number.isFinite(Number(text));
const toNumber = (text) => (MISSING.has(text.toLowerCase()) ? null : Number(text));

/**
 * A map from each series' name to its numbers, null for a missing one. `columns` may name the
 * `target_column` and `series_column` of a table. Throws an Error that says what is wrong.
 */
export function readSeries(text, columns = {}) {
  const trimmed = text.trim();
  if (trimmed === "") throw new Error("There is no series: paste one, or choose a file.");
  if (trimmed.startsWith("{")) return fromLines(trimmed, columns);
  const words = trimmed.replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter((word) => word !== "");
  if (words.every(isNumber)) return new Map([["series", words.map(toNumber)]]);
  return fromTable(trimmed, columns);
}

/** The series of a name, else the first one. */
export function oneSeries(all, name) {
  return all.get(name) ?? [...all.values()][0];
}

function fromLines(text, columns) {
  const found = new Map();
  text.split("\n").forEach((line, index) => {
    if (line.trim() === "") return;
    let row;
    try {
      row = JSON.parse(line);
    } catch {
      throw new Error(`Line ${index + 1} is not JSON.`);
    }
    const column = columns.target_column ?? VALUES.find((name) => name in row);
    const value = row[column];
    const name = String(row[columns.series_column ?? NAMES.find((each) => each in row)] ?? "series");
    const values = Array.isArray(value) ? value : [value];
    if (!values.every((each) => each === null || Number.isFinite(each))) {
      throw new Error(`Line ${index + 1} has no numbers under ${VALUES.join(", ")}.`);
    }
    found.set(name, [...(found.get(name) ?? []), ...values]);
  });
  return found;
}

function fromTable(text, columns) {
  const rows = cells(text);
  const header = rows.shift().map((name) => name.trim());
  if (rows.length === 0) throw new Error("There are no numbers under the header of the table.");
  const numeric = header.filter((_, column) => rows.every((row) => isNumber(row[column]?.trim() ?? "")));
  const named = (names) => header.find((name) => names.includes(name.toLowerCase()));
  const target = columns.target_column ?? named(VALUES) ?? numeric.at(-1);
  if (target === undefined) throw new Error(`No column is numeric: ${header.join(", ")}.`);
  const at = header.indexOf(target);
  const names = header.indexOf(columns.series_column ?? named(NAMES) ?? "");
  const found = new Map();
  rows.forEach((row, index) => {
    const cell = row[at]?.trim() ?? "";
    if (!isNumber(cell)) throw new Error(`Row ${index + 1}, column ${target}: "${cell}" is not a number.`);
    const name = names === -1 ? target : (row[names] ?? "");
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(toNumber(cell));
  });
  return found;
}

/** The cells of a table whose delimiter is the commonest one of its first line. */
function cells(text) {
  const first = text.split("\n", 1)[0];
  const often = (delimiter) => first.split(delimiter).length;
  const delimiter = [",", ";", "\t"].sort((a, b) => often(b) - often(a))[0];
  const quoted = `"(?:[^"]|"")*"`;
  const cell = new RegExp(`(${quoted}|[^${delimiter}\\r\\n]*)(${delimiter}|\\r?\\n|$)`, "gy");
  const rows = [[]];
  for (const [whole, content, end] of text.matchAll(cell)) {
    if (whole === "" && rows.at(-1).length === 0) break;
    rows.at(-1).push(content.startsWith('"') ? content.slice(1, -1).replaceAll('""', '"') : content);
    if (end === "") break;
    if (end !== delimiter) rows.push([]);
  }
  return rows.filter((row) => row.some((each) => each.trim() !== ""));
}
