// A cell while it forms: all its edges at places that stay, each with the shares of its operations.

function drawForming() {
  const host = document.getElementById("forming");
  const kind = data.search.kinds[state.kind];
  const [width, height] = kind.size;
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  drawing.style.minWidth = `${Math.min(width, 760)}px`;
  for (const path of kind.joins) drawing.append(shape("path", { class: "join", d: path, fill: "none" }));
  const order = kind.routes.map((route, edge) => drawRoute(drawing, kind, route, edge));
  for (const parts of order) drawing.append(parts.group);
  for (const node of kind.nodes) {
    const { x, y, width: w, height: h, text, look } = node;
    drawing.append(shape("rect", { class: `box ${look}`, x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 7 }));
    drawing.append(shape("text", { x, y: y + 4.2, "text-anchor": "middle" }, text));
  }
  host.replaceChildren(drawing);
  moves.push(() => {
    const read = chosen(state.at, kind);
    order.forEach((parts, edge) => paintRoute(parts, kind, edge, read.get(edge)));
    const said = [...read].map(([edge, ops]) => {
      const [source, target] = kind.edges[edge];
      return `${ops.map((op) => data.search.ops[op]).join(" and ")} from ${endName(kind, source)} to ${endName(kind, target)}`;
    });
    drawing.setAttribute("aria-label", `The ${kind.name} cell after epoch ${data.search.epochs[state.at]}: ${said.join(", ") || "no connection"}`);
  });
}

function drawRoute(drawing, kind, route, edge) {
  const { x, y, width, height } = route;
  // With their classes from the start: else they fade in from an SVG's own black.
  const line = shape("path", { class: "route", d: route.path });
  drawing.append(line);
  const seat = shape("rect", { class: "seat", x: x - width / 2, y: y - height / 2, width, height, rx: height / 2 });
  const label = shape("text", { x, y: y + 1.5, "text-anchor": "middle" });
  const inner = width - 20;
  const shares = kind.offered[edge].map((op) => shape("rect", { class: `share o${op}`, y: y + height / 2 - 6, height: 3 }));
  const group = shape("g", {}, seat, label, ...shares);
  const tell = (event) => {
    const [source, target] = kind.edges[edge];
    showTip(event.clientX, event.clientY, `Edge ${endName(kind, source)} → ${endName(kind, target)}, epoch ${data.search.epochs[state.at]}`, edgeRows(kind, edge, state.at));
  };
  group.addEventListener("pointermove", tell);
  group.addEventListener("pointerdown", tell);
  group.addEventListener("pointerleave", hideTip);
  return { group, line, seat, label, shares, start: x - inner / 2, inner };
}

function paintRoute({ line, seat, label, shares, start, inner }, kind, edge, read) {
  const row = kind.first + edge;
  const weights = kind.offered[edge].map((op) => weight(state.at, row, op) ?? 0);
  const sum = weights.reduce((a, b) => a + b, 0);
  const best = strongest(state.at, row, kind.offered[edge]);
  const gone = best === null || sum === 0 || (best === data.search.none && weights.filter((w) => w > 0).length === 1);
  const look = read ? `in o${read[0]}` : gone ? "gone" : "";
  line.setAttribute("class", `route ${look}`);
  seat.setAttribute("class", `seat ${look}`);
  label.textContent = read ? data.search.ops[read[0]] + (read.length > 1 ? ` +${read.length - 1}` : "") : "";
  label.style.fontSize = read && read.length > 1 ? "10.5px" : "";
  let left = start;
  shares.forEach((share, i) => {
    const width = sum && !gone ? (weights[i] / sum) * inner : 0;
    share.setAttribute("x", left);
    share.setAttribute("width", width);
    left += width;
  });
}
