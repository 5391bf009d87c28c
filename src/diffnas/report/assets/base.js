// What every part of the page needs: the data, making elements, numbers in words, and the one epoch that all show.

const SVG = "http://www.w3.org/2000/svg";
let data = JSON.parse(document.getElementById("data").textContent);
const state = { at: 0, kind: 0, lit: null };
let redraws = [];  // called after the size of the window, the kind of cell or the data has changed
let moves = [];    // called after the epoch has changed

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Draws into every host at the width it has. All are asked before any is drawn into: the browser then lays the page out
// once, not once a drawing.
function drawAll(hosts, draw) {
  const widths = hosts.map((host) => host.clientWidth);
  hosts.forEach((host, place) => draw(host, widths[place], place));
}

// The weights of all epochs, edges and operations; null for an operation that is no longer in play.
let levels = null;
const DEAD = 65535;

function unpack() {
  if (!data.search) return;
  const bytes = Uint8Array.from(atob(data.search.weights), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  levels = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < levels.length; i++) levels[i] = view.getUint16(2 * i, true);
}

function edgeCount() {
  return data.search.kinds.reduce((sum, kind) => sum + kind.edges.length, 0);
}

function weight(epoch, row, op) {
  const level = levels[(epoch * edgeCount() + row) * data.search.ops.length + op];
  return level === DEAD ? null : (level / (DEAD - 1)) * data.search.scale;
}

// The operation of an edge with the largest weight; null if none is left.
function strongest(epoch, row, offered) {
  let best = null;
  for (const op of offered) {
    const w = weight(epoch, row, op);
    if (w !== null && (best === null || w > weight(epoch, row, best))) best = op;
  }
  return best;
}

// Whether an operation of an edge would be read off after an epoch.
function chosen(epoch, kind) {
  const found = new Map();
  for (const [edge, op] of data.search.genotypes[data.search.genotypeAt[epoch]][kind.name]) {
    found.set(edge, [...(found.get(edge) || []), op]);
  }
  return found;
}

function endName(kind, node) {
  return kind.nodes[node].text;
}

const words = {
  percent: (v) => `${(100 * v).toFixed(1)}%`,
  loss: (v) => v.toFixed(3),
  plain: (v) => (Math.abs(v) >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toPrecision(3)),
  count: (v) => (v >= 1e9 ? `${(v / 1e9).toPrecision(3)} G` : v >= 1e6 ? `${(v / 1e6).toPrecision(3)} M` : v >= 1e3 ? `${(v / 1e3).toPrecision(3)} k` : `${v}`),
  binary: (v) => (v >= 2 ** 20 ? `${(v / 2 ** 20).toPrecision(3)} MiB` : `${(v / 2 ** 10).toPrecision(3)} KiB`),
  brief: (v) => (v >= 1 ? `${v.toPrecision(3)} s` : v >= 1e-3 ? `${(v * 1e3).toPrecision(3)} ms` : `${(v * 1e6).toPrecision(3)} us`),
  bytes: (v) => (v >= 1e9 ? `${(v / 1e9).toFixed(2)} GB` : `${(v / 1e6).toFixed(0)} MB`),
  seconds: (v) => (v >= 59.95 ? minutes(Math.round(v)) : v >= 1 ? `${v.toFixed(1)} s` : v > 0 ? `${(1000 * v).toFixed(0)} ms` : "0"),
};

function minutes(seconds) {
  return seconds % 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${seconds / 60} min`;
}

function setEpoch(at) {
  state.at = Math.max(0, Math.min(data.search.epochs.length - 1, at));
  for (const move of moves) move();
}

function redraw() {
  moves = [];
  for (const draw of redraws) draw();
  for (const move of moves) move();
}

// The box of values beside the pointer.
const tip = document.getElementById("tip");

function showTip(x, y, title, rows) {
  tip.replaceChildren(element("p", {}, title));
  for (const [name, value, look] of rows) tip.append(element("div", { class: look }, element("span", {}, name), value));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(innerHeight - height - 4, y - height / 2))}px`;
}

function hideTip() {
  tip.hidden = true;
}
