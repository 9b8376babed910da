// Probabilities as a list with bars.

const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });

/** Fills a list with `[name, probability]` in their order. */
export function bars(list, pairs) {
  list.replaceChildren(...pairs.map(([name, probability]) => {
    const item = document.createElement("li");
    const label = Object.assign(document.createElement("span"), { textContent: name });
    const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: probability });
    meter.setAttribute("aria-label", name);
    const share = Object.assign(document.createElement("span"), { textContent: percent.format(probability) });
    item.append(label, meter, share);
    return item;
  }));
}

/** A token as it can be seen: blanks and line ends are written out. */
export const visible = (text) =>
  text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ +$/, (blanks) => "␣".repeat(blanks.length)) || "(part of a character)";

export { percent };
