// A picture of a network: layers from the bottom to the top, timesteps from left to right.

const SPACE = "http://www.w3.org/2000/svg";
const TIMES = 5;
const SHOWN_LAYERS = 8;
const BOX = { width: 84, height: 34, across: 128, up: 66, left: 96, top: 30 };

const INPUTS = {
  "time-series-forecasting": "values",
  "text-classification": "words",
  "text-generation": "tokens",
};

function output({ task, architecture, data }) {
  if (task === "time-series-forecasting") {
    return `${architecture.distribution.replaceAll("_", " ")} over ${data.horizon} timesteps, ${architecture.decoding}`;
  }
  if (task === "text-classification") return `${architecture.pooling} over time, then a label`;
  return `next token, ${architecture.softmax} softmax`;
}

/** Draws a resolved configuration and says it in words. */
export function draw(svg, config) {
  const { architecture, task } = config;
  const layers = Math.min(architecture.num_layers, SHOWN_LAYERS);
  const front = architecture.convolution ?? null;
  const rows = layers + (front ? 1 : 0) + 2;
  const width = BOX.left + TIMES * BOX.across;
  const height = BOX.top * 2 + rows * BOX.up;
  const make = (name, attributes, text) => {
    const made = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
    return made;
  };
  const x = (time) => BOX.left + time * BOX.across + BOX.across / 2;
  const y = (row) => height - BOX.top - row * BOX.up - BOX.up / 2;
  const arrow = (x1, y1, x2, y2, kind) => make("line", { x1, y1, x2, y2, class: kind, "marker-end": "url(#arrow)" });
  const box = (time, row, text, kind) => {
    make("rect", { x: x(time) - BOX.width / 2, y: y(row) - BOX.height / 2, width: BOX.width, height: BOX.height, rx: 6, class: kind });
    make("text", { x: x(time), y: y(row) + 4, "text-anchor": "middle" }, text);
  };
  const rise = (time, from, to, kind) => arrow(x(time), y(from) - BOX.height / 2, x(time), y(to) + BOX.height / 2 + 5, kind);

  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const marker = document.createElementNS(SPACE, "marker");
  for (const [key, value] of Object.entries({ id: "arrow", viewBox: "0 0 6 6", refX: 5, refY: 3, markerWidth: 6, markerHeight: 6, orient: "auto" })) {
    marker.setAttribute(key, value);
  }
  const head = document.createElementNS(SPACE, "path");
  head.setAttribute("d", "M0 0 L6 3 L0 6 z");
  marker.append(head);
  svg.append(marker);

  const name = (row, text) => make("text", { x: 4, y: y(row) + 4, class: "name" }, text);
  name(0, INPUTS[task]);
  const first = front ? 2 : 1;
  const top = first + layers - 1;
  const units = architecture.hidden_size * (architecture.bidirectional ? 2 : 1);
  const read = front ? front.channels : architecture.embedding_size;
  if (front) name(1, `${front.num_layers} conv.`);
  for (let layer = 0; layer < layers; layer++) {
    const hidden = architecture.num_layers > layers && layer === layers - 1;
    name(first + layer, hidden ? `to layer ${architecture.num_layers}` : `layer ${layer + 1}`);
  }
  for (let time = 0; time < TIMES; time++) {
    const t = time - TIMES + 1;
    box(time, 0, t ? `t − ${-t}` : "t", "input");
    rise(time, 0, 1, "flow");
    if (front) {
      box(time, 1, "filters", "front");
      rise(time, 1, 2, "flow");
    }
    for (let row = first; row <= top; row++) {
      box(time, row, architecture.cell, "cell");
      if (time > 0) {
        const from = x(time - 1) + BOX.width / 2;
        const to = x(time) - BOX.width / 2;
        const apart = architecture.bidirectional ? 7 : 0;
        arrow(from, y(row) - apart, to - 4, y(row) - apart, "flow");
        if (apart) arrow(to, y(row) + apart, from + 4, y(row) + apart, "back");
      }
      if (row < top) rise(time, row, row + 1, "flow");
      if (architecture.residual && (row > first || read === units)) bend(time, row - 1, row);
      if (architecture.dense) for (let below = first - 1; below < row; below++) bend(time, below, row);
      if (architecture.output_layers === "sum" && row < top) bend(time, row, top + 1);
    }
  }
  function bend(time, from, to) {
    const start = y(from) - BOX.height / 2;
    const end = y(to) + (architecture.residual ? -BOX.height / 2 - 3 : BOX.height / 2 + 5);
    const out = x(time) + BOX.width / 2 + 4 + 6 * (to - from);
    make("path", { d: `M${x(time) + 16} ${start} C${out} ${start - 8} ${out} ${end + 8} ${x(time) + 16} ${end}`, class: "skip", "marker-end": "url(#arrow)" });
  }

  const middle = BOX.left + (TIMES * BOX.across) / 2;
  const wide = TIMES * BOX.across - (BOX.across - BOX.width);
  make("rect", { x: middle - wide / 2, y: y(top + 1) - BOX.height / 2, width: wide, height: BOX.height, rx: 6, class: "output" });
  make("text", { x: middle, y: y(top + 1) + 4, "text-anchor": "middle" }, output(config));
  const pooled = task === "text-classification" && architecture.pooling !== "last";
  const used = task === "text-generation" || pooled ? [...Array(TIMES).keys()] : [TIMES - 1];
  for (const time of used) rise(time, top, top + 1, "flow");

  const words = [
    `${architecture.num_layers} ${architecture.bidirectional ? "bidirectional " : ""}${architecture.num_layers === 1 ? "layer" : "layers"} of ${architecture.hidden_size} ${architecture.cell} units`,
    front && `over ${front.num_layers} ${front.num_layers === 1 ? "convolution" : "convolutions"} of ${front.channels} filters and ${front.kernel_size} timesteps${front.pooling > 1 ? `, each leaving one timestep of ${front.pooling}` : ""}`,
    architecture.embedding_size && `vectors of ${architecture.embedding_size}`,
    architecture.residual && "residual connections",
    architecture.dense && "each layer reads all before it",
    architecture.output_layers === "sum" && "the outputs of all layers are added",
  ];
  const said = `${words.filter(Boolean).join("; ")}; then ${output(config)}.`;
  svg.setAttribute("aria-label", said);
  return said;
}
