// ECharts in the page's colours. Tooltips are drawn on the canvas: HTML ones would need inline styles.

import * as echarts from "./vendor/echarts.mjs";

export const SERIES = Array.from({ length: 8 }, (_, index) => `series-${index + 1}`);
export const DASHES = ["solid", "dashed", "dotted"]; // in turn: colours alone do not tell lines apart

const colour = (name) => {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

export function colours() {
  return Object.fromEntries(
    ["text", "quiet", "line", "surface", "accent", ...SERIES].map((name) => [name, colour(name)]),
  );
}

/** A chart in an element that keeps its size and colours right; `option` is asked for the rest, with
 * the colours and with all options as they were before. */
export class Chart {
  constructor(element, option) {
    this.option = option;
    this.chart = echarts.init(element, null, { renderer: "canvas" });
    new ResizeObserver(() => this.chart.resize()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  draw() {
    const paint = colours();
    const base = {
      animation: false,
      backgroundColor: "transparent",
      textStyle: { color: paint.text, fontFamily: "inherit" },
      tooltip: {
        trigger: "axis",
        renderMode: "richText",
        backgroundColor: paint.surface,
        borderColor: paint.line,
        textStyle: { color: paint.text },
      },
    };
    const before = this.chart.getOption();
    this.chart.setOption({ ...base, ...this.option(paint, before) }, { notMerge: true });
  }
}

export function axis(paint, changes = {}) {
  return {
    axisLine: { lineStyle: { color: paint.line } },
    axisLabel: { color: paint.quiet, hideOverlap: true },
    splitLine: { lineStyle: { color: paint.line, opacity: 0.5 } },
    nameTextStyle: { color: paint.quiet },
    ...changes,
  };
}
