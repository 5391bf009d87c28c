// Puts the parts together: charts, the epoch's slider, kinds of cell, and a page that keeps itself up to date.

function drawPlots() {
  const search = data.search;
  const evaluation = data.evaluation;
  // One scale for a share in search and evaluation, so that their gap can be seen.
  const top = ({ name, share }) => {
    if (!share) return undefined;
    const values = [search?.train[name], search?.held_out[name], evaluation?.train[name], [evaluation?.test?.[name]]];
    return Math.min(1, ceiling(Math.max(...values.flat().filter((v) => v !== null && v !== undefined))));
  };
  const learned = [{ name: "loss", title: "Loss", say: words.loss }, ...data.task.map((metric) => ({ ...metric, say: metric.share ? words.percent : words.plain, top: top(metric) }))];
  const plots = {};
  if (search) {
    const s = search.series;
    const common = { epochs: search.epochs, linked: true };
    for (const { name, title, say, top } of learned) {
      const lines = [{ name: "training", values: search.train[name], look: "a" }, { name: "held out", values: search.held_out[name], look: "b" }];
      plots[`search-${name}`] = { ...common, title: `${title} of the supernet`, say, top, lines };
    }
    plots.live = { ...common, title: "Operations alive", say: words.plain, lines: [{ name: "all", values: s.live_ops, look: "a" }, { name: "learning", values: s.live_learning, look: "b" }] };
    const steps = s.step_seconds.some((v) => v !== null);
    plots.time = { ...common, title: steps ? "Time of a step" : "Time of an epoch", say: words.seconds, lines: [{ name: "", values: steps ? s.step_seconds : s.seconds, look: "a" }] };
    plots.macs = { ...common, title: "Multiply-adds of the supernet", say: words.count, lines: [{ name: "", values: s.macs, look: "a" }] };
    plots.memory = { ...common, title: "Memory", say: words.bytes, lines: [{ name: "", values: s.memory, look: "a" }] };
  }
  for (const cost of search?.costs ?? []) {
    const common = { epochs: search.epochs, linked: true };
    const lines = [{ name: "cells so far", values: cost.read_off, look: "a" }, { name: "expected", values: cost.expected, look: "b" }];
    const band = { low: cost.lo, high: cost.hi };
    plots[`cost-${cost.name}`] = { ...common, title: `${cost.title} of the network`, say: words[cost.say], lines, band, mark: { value: cost.target, name: "target" } };
    plots[`multiplier-${cost.name}`] = { ...common, title: "Multiplier", say: words.plain, lines: [{ name: "", values: cost.multiplier, look: "a" }] };
  }
  if (evaluation) {
    const test = evaluation.test;
    for (const { name, title, say, top } of learned) {
      const lines = [{ name: "training", values: evaluation.train[name] ?? [], look: "a" }];
      const mark = test?.[name] === undefined ? null : { value: test[name], name: "test, at the end" };
      plots[`evaluation-${name}`] = { epochs: evaluation.epochs, title: `${title} of the network`, say, top, lines, mark };
    }
  }
  drawAll([...document.querySelectorAll("[data-plot], [data-finding]")], (host, width) => {
    if (plots[host.dataset.plot]) chart(host, width, plots[host.dataset.plot]);
    const found = search?.findings.find((finding) => finding.name === host.dataset.finding);
    if (found && found.series.length > 1) spark(host, width, found.name, found.series, found.top);
  });
}

function drawKinds() {
  const kinds = data.search.kinds;
  document.querySelectorAll(".kinds").forEach((host) => {
    host.replaceChildren();
    if (kinds.length < 2) return;
    kinds.forEach((kind, place) => {
      const button = element("button", { type: "button", "aria-pressed": String(place === state.kind) }, kind.name);
      button.addEventListener("click", () => {
        state.kind = place;
        redraw();
      });
      host.append(button);
    });
  });
}

let playing = null;

function stop() {
  clearInterval(playing);
  playing = null;
  const button = document.getElementById("play");
  button?.replaceChildren("▶");
  button?.setAttribute("aria-label", "Play");
}

function play() {
  const count = data.search.epochs.length;
  if (state.at === count - 1) setEpoch(0);
  const button = document.getElementById("play");
  button.replaceChildren("❚❚");
  button.setAttribute("aria-label", "Pause");
  playing = setInterval(() => {
    setEpoch(state.at + 1);
    if (state.at >= data.search.epochs.length - 1) stop();
  }, Math.max(40, Math.min(400, 8000 / count)));
}

function startSlider() {
  const slider = document.getElementById("epoch");
  slider.addEventListener("input", () => setEpoch(Number(slider.value)));
  document.getElementById("play").addEventListener("click", () => (playing ? stop() : play()));
}

function moveSlider() {
  const slider = document.getElementById("epoch");
  const search = data.search;
  const said = `epoch ${search.epochs[state.at]} of ${search.planned}`;
  slider.value = state.at;
  slider.setAttribute("aria-valuetext", said);
  document.getElementById("at").replaceChildren("epoch ", element("b", {}, String(search.epochs[state.at])), ` of ${search.planned}`, state.at === search.chosen ? ", result" : "");
}

// Begins with a page that has just come: from a file, or from the run that is watched.
function start(at) {
  data = JSON.parse(document.getElementById("data").textContent);
  redraws = [drawPlots];
  if (data.search) {
    unpack();
    state.at = Math.min(at ?? Infinity, data.search.epochs.length - 1);
    state.kind = Math.min(state.kind, data.search.kinds.length - 1);
    redraws.push(drawKinds, drawForming, drawLegend, drawEdges, () => moves.push(moveSlider));
    startSlider();
  }
  redraw();
  document.querySelectorAll(".copy").forEach((button) => {
    button.addEventListener("click", () => {
      const text = button.parentElement.querySelector("pre");
      getSelection().selectAllChildren(text);
      navigator.clipboard?.writeText(text.textContent).catch(() => {});
      button.textContent = "Copied";
    });
  });
}

// Takes over a newer page without losing the place.
async function takeOver() {
  const answer = await fetch("./", { cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const followed = !data.search || state.at === data.search.epochs.length - 1 ? undefined : state.at;
  const focused = document.activeElement?.id;
  const open = [...document.querySelectorAll("details")].map((details) => details.open);
  stop();
  hideTip();
  for (const part of ["main", ".kicker", ".subtitle", "#data"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
  document.querySelectorAll("details").forEach((details, place) => { details.open = open[place] ?? details.open; });
  start(followed);
  if (focused) document.getElementById(focused)?.focus();
}

start();
let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(redraw, 120);
});
if (document.body.dataset.version) watch(document.body.dataset.version);
