// The weights of every edge, a small plot an edge, laid out as the cell's adjacency matrix.

function drawEdges() {
  const host = document.getElementById("edges");
  const search = data.search;
  const kind = search.kinds[state.kind];
  host.replaceChildren();
  const columns = Math.max(...kind.edges.map(([source]) => source)) + 1;
  const inputs = Math.min(...kind.edges.map(([, target]) => target));
  host.style.gridTemplateColumns = `repeat(${Math.max(columns, 3)}, minmax(0, 1fr))`;
  let highest = 0;
  kind.edges.forEach((_, edge) => {
    for (let i = 0; i < search.epochs.length; i++) {
      for (const op of kind.offered[edge]) highest = Math.max(highest, weight(i, kind.first + edge, op) ?? 0);
    }
  });
  const places = kind.edges.map(([source, target]) => {
    const place = element("div", { class: "edge" });
    place.style.gridArea = `${target - inputs + 1} / ${source + 1}`;
    return place;
  });
  host.append(...places);
  drawAll(places, (place, width, edge) => drawEdge(place, width, kind, edge, ceiling(highest)));
}

function drawEdge(place, space, kind, edge, top) {
  const search = data.search;
  const [source, target] = kind.edges[edge];
  const row = kind.first + edge;
  const count = search.epochs.length;
  const name = `${endName(kind, source)} → ${endName(kind, target)}`;
  const winner = element("b");
  place.append(element("div", { class: "cap" }, element("span", {}, name), winner));
  const width = Math.max(110, space);
  const height = 88;
  const x = scale(0, Math.max(1, count - 1), 4, width - 6);
  const y = scale(0, top, height - 4, 8);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  drawing.append(shape("line", { class: "axis", x1: 4, x2: width - 6, y1: y(0), y2: y(0) }));
  drawing.append(shape("line", { class: "axis", x1: 4, x2: width - 6, y1: y(top), y2: y(top) }));
  drawing.append(shape("text", { class: "tick", x: 5, y: y(top) + 11 }, String(Number(top.toPrecision(2)))));
  const cursor = shape("line", { class: "cursor", y1: y(top), y2: y(0) });
  drawing.append(cursor);
  const last = strongest(count - 1, row, kind.offered[edge]);
  for (const op of [...kind.offered[edge]].sort((a, b) => (a === last) - (b === last))) {
    const values = Array.from({ length: count }, (_, i) => weight(i, row, op));
    const looks = `o${op}${op === search.none ? " none" : ""}${op === last ? " won" : ""}${op === state.lit ? " on" : ""}`;
    drawing.append(shape("path", { class: `line ${looks}`, d: through(values, x, y) }));
    const end = values.findLastIndex((v) => v !== null);
    if (end >= 0 && (end < count - 1 || count === 1)) {
      drawing.append(shape("circle", { class: `end ${looks}`, cx: x(end), cy: y(values[end]), r: 2.6 }));
    }
  }
  drawing.setAttribute("aria-label", `Edge ${name}: ${last === null ? "nothing is left" : `strongest at the end is ${search.ops[last]} with ${weight(count - 1, row, last).toFixed(3)}`}`);
  listen(drawing, count, x, (i) => [`Edge ${name}, epoch ${search.epochs[i]}`, edgeRows(kind, edge, i)], setEpoch);
  place.append(drawing);
  moves.push(() => {
    cursor.setAttribute("x1", x(state.at));
    cursor.setAttribute("x2", x(state.at));
    const read = chosen(state.at, kind).get(edge);
    const op = read ? read[0] : strongest(state.at, row, kind.offered[edge]);
    winner.className = op === null ? "" : `o${op}${read ? " in" : ""}`;
    winner.textContent = op === null ? "" : search.ops[op];
    winner.title = read ? "in the cell read off now" : "strongest, but not in the cell read off now";
  });
}

// Names and weights of an edge's operations after an epoch, from large to small.
function edgeRows(kind, edge, epoch) {
  const search = data.search;
  return kind.offered[edge]
    .map((op) => [op, weight(epoch, kind.first + edge, op)])
    .sort((a, b) => (b[1] ?? -1) - (a[1] ?? -1))
    .map(([op, w]) => [search.ops[op], w === null ? "pruned" : w.toFixed(3), `o${op}${w === null ? " gone" : ""}`]);
}

function drawLegend() {
  const host = document.getElementById("legend");
  host.replaceChildren();
  data.search.ops.forEach((name, op) => {
    const look = `line won o${op}${op === data.search.none ? " none" : ""}`;
    const sample = shape("svg", { width: 20, height: 8, viewBox: "0 0 20 8", "aria-hidden": "true" }, shape("path", { class: look, d: "M2 4H18" }));
    const button = element("button", { type: "button", "aria-pressed": String(state.lit === op) }, sample, name);
    button.addEventListener("click", () => light(state.lit === op ? null : op));
    host.append(button);
  });
  document.getElementById("edges").classList.toggle("lit", state.lit !== null);
}

// Follow one operation through all edges; null shows all alike again.
function light(op) {
  state.lit = op;
  document.querySelectorAll("#edges .line, #edges .end").forEach((mark) => {
    mark.classList.toggle("on", mark.classList.contains(`o${op}`));
  });
  document.querySelectorAll("#legend button").forEach((button, place) => button.setAttribute("aria-pressed", String(place === op)));
  document.getElementById("edges").classList.toggle("lit", op !== null);
}
