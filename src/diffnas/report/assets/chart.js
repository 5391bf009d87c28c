// Lines over epochs, with their names at their ends. Every chart is drawn again for the width it finds.

function scale(from, to, start, end) {
  return (v) => (to === from ? (start + end) / 2 : start + ((v - from) / (to - from)) * (end - start));
}

// The least number of the form 1, 2, 2.5 or 5 times a power of ten that is not below v.
function ceiling(v) {
  if (!(v > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= v * 0.9999);
}

// The data of a path through the known values; unknown ones leave a gap.
function through(values, x, y) {
  let drawn = "";
  let broken = true;
  values.forEach((v, i) => {
    if (v === null) {
      broken = true;
      return;
    }
    drawn += `${broken ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    broken = false;
  });
  return drawn;
}

// The data of the area between two rows of values; epochs without them are left out.
function between(band, x, y) {
  const known = [...band.low.keys()].filter((i) => band.low[i] !== null && band.high[i] !== null);
  const corner = (values) => (i) => `${x(i).toFixed(1)} ${y(values[i]).toFixed(1)}`;
  const corners = [...known.map(corner(band.high)), ...known.reverse().map(corner(band.low))];
  return corners.length ? `M${corners.join("L")}Z` : "";
}

// Makes a chart tell the values under the pointer, and take the keyboard's arrows.
// `read` gives the title and the rows of an epoch; `go` is what a click does with it.
function listen(drawing, count, x, read, go) {
  const place = (event) => {
    const { left, width } = drawing.getBoundingClientRect();
    const at = ((event.clientX - left) / width) * drawing.viewBox.baseVal.width;
    let best = 0;
    for (let i = 1; i < count; i++) if (Math.abs(x(i) - at) < Math.abs(x(best) - at)) best = i;
    return best;
  };
  const tell = (event) => showTip(event.clientX, event.clientY, ...read(place(event)));
  drawing.addEventListener("pointermove", tell);
  drawing.addEventListener("pointerdown", tell);
  drawing.addEventListener("pointerleave", hideTip);
  if (!go) return;
  drawing.addEventListener("click", (event) => go(place(event)));
  drawing.setAttribute("tabindex", "0");
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(state.at + step);
    const { left, top, width } = drawing.getBoundingClientRect();
    showTip(left + width / 2, top, ...read(state.at));
  });
  drawing.addEventListener("blur", hideTip);
}

// options: title, epochs, planned, lines: [{name, values, look}], say, top, bottom, linked, mark: {value, name}, note,
// band: {low, high}, values between which something must lie
function chart(host, space, options) {
  const lines = options.lines.filter((line) => line.values.some((v) => v !== null));
  host.replaceChildren();
  if (!lines.length) return;
  const width = Math.max(240, space);
  const height = 150;
  const longest = Math.max(...lines.map((line) => line.name.length), options.mark ? options.mark.name.length : 0);
  const right = width - (longest ? 10 + 5.9 * longest : 6);
  const known = lines.flatMap((line) => line.values.filter((v) => v !== null));
  if (options.mark) known.push(options.mark.value);
  if (options.band) known.push(...options.band.high.filter((v) => v !== null));
  const top = options.top ?? ceiling(Math.max(...known));
  const bottom = options.bottom ?? 0;
  const say = options.say;
  const ticks = [bottom, (bottom + top) / 2, top];
  const left = Math.max(40, 10 + 5.6 * Math.max(...ticks.map((v) => say(v).length)));
  const x = scale(0, Math.max(1, options.epochs.length - 1), left, right);
  const y = scale(bottom, top, height - 20, 8);
  const now = element("span");
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  for (const v of ticks) {
    drawing.append(shape("line", { class: "axis", x1: left, x2: right, y1: y(v), y2: y(v) }));
    drawing.append(shape("text", { class: "tick", x: left - 5, y: y(v) + 3.5, "text-anchor": "end" }, say(v)));
  }
  const count = options.epochs.length;
  for (const i of count > 1 ? [0, count - 1] : [0]) {
    const anchor = i === 0 ? "start" : "end";
    const label = i === 0 ? `epoch ${options.epochs[0]}` : `${options.epochs[i]}`;
    drawing.append(shape("text", { class: "tick", x: x(i), y: height - 5, "text-anchor": count > 1 ? anchor : "middle" }, label));
  }
  if (options.band) drawing.append(shape("path", { class: "band", d: between(options.band, x, y) }));
  const cursor = shape("line", { class: "cursor", y1: 8, y2: height - 20, visibility: "hidden" });
  if (options.linked) drawing.append(cursor);
  if (options.mark) {
    drawing.append(shape("line", { class: "line c", x1: left, x2: right, y1: y(options.mark.value), y2: y(options.mark.value), "stroke-dasharray": "5 4" }));
  }
  const labels = options.mark ? [{ at: y(options.mark.value), name: options.mark.name, look: "c" }] : [];
  for (const line of lines) {
    drawing.append(shape("path", { class: `line ${line.look}`, d: through(line.values, x, y) }));
    const last = line.values.findLastIndex((v) => v !== null);
    drawing.append(shape("circle", { class: `dot ${line.look}`, cx: x(last), cy: y(line.values[last]), r: 2.6 }));
    labels.push({ at: y(line.values[last]), name: line.name, look: line.look });
  }
  placeLabels(drawing, labels, right + 8, height - 16);
  const ended = lines.map((line) => `${line.name || options.title} ${say(line.values.findLast((v) => v !== null))}`);
  drawing.setAttribute("aria-label", `${options.title} over ${count} epochs; at the end ${ended.join(", ")}`);
  const read = (i) => [
    `Epoch ${options.epochs[i]}`,
    lines.filter((line) => line.values[i] !== null).map((line) => [line.name || options.title, say(line.values[i]), line.look]),
  ];
  listen(drawing, count, x, read, options.linked ? setEpoch : null);
  host.append(element("h3", {}, options.title, now), drawing);
  if (!options.linked) return;
  moves.push(() => {
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", x(state.at));
    cursor.setAttribute("x2", x(state.at));
    const told = lines.filter((line) => line.values[state.at] !== null);
    now.replaceChildren(...told.map((line) => element("i", { class: line.look }, say(line.values[state.at]))));
  });
}

// Names beside the ends of lines, moved apart where they would touch.
function placeLabels(drawing, labels, x, lowest) {
  const named = labels.filter((label) => label.name).sort((a, b) => a.at - b.at);
  for (let i = 1; i < named.length; i++) named[i].at = Math.max(named[i].at, named[i - 1].at + 13);
  for (let i = named.length - 1; i >= 0; i--) {
    named[i].at = Math.min(named[i].at, i === named.length - 1 ? lowest : named[i + 1].at - 13);
  }
  for (const label of named) {
    drawing.append(shape("text", { class: `label ${label.look}`, x, y: label.at + 3.5 }, label.name));
  }
}

// A line without axes, beside a sentence that says what it means.
function spark(host, space, title, values, top) {
  host.replaceChildren();
  const width = Math.max(120, space);
  const known = values.filter((v) => v !== null);
  const high = top ?? Math.max(...known) * 1.05;
  const x = scale(0, Math.max(1, values.length - 1), 3, width - 6);
  const y = scale(0, high || 1, 38, 4);
  const drawing = shape("svg", { viewBox: `0 0 ${width} 42`, height: 42, role: "img" });
  drawing.setAttribute("aria-label", `${title} over ${values.length} epochs, from ${words.plain(known[0])} to ${words.plain(known.at(-1))}`);
  drawing.append(shape("line", { class: "axis", x1: 3, x2: width - 6, y1: 38, y2: 38 }));
  drawing.append(shape("path", { class: "line a", d: through(values, x, y) }));
  const dot = shape("circle", { class: "dot a", r: 3 });
  drawing.append(dot);
  listen(drawing, values.length, x, (i) => [
    `Epoch ${data.search.epochs[i]}`,
    values[i] === null ? [] : [[title, words.plain(values[i]), "a"]],
  ], setEpoch);
  host.append(drawing);
  moves.push(() => {
    const v = values[state.at];
    dot.setAttribute("visibility", v === null ? "hidden" : "visible");
    if (v === null) return;
    dot.setAttribute("cx", x(state.at));
    dot.setAttribute("cy", y(v));
  });
}
