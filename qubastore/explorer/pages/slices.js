// Groups of images on which a model does worse or better.
"use strict";

const KINDS = {
  factors: ["By factor", "What is known of the images, one factor at a time."],
  found: ["Found", "Combinations of up to three factors, the class among them, with many errors: SliceLine, at least 10 images."],
  clusters: ["Clusters", "Images that the model sees as similar: k-means over its kept features, the least accurate first."],
};

/** Accuracy with its interval, drawn on a line from 0 to 1. */
function interval(row) {
  const text = `${percent(row.accuracy)}, 95 % interval ${percent(row.low)} to ${percent(row.high)}`;
  const range = el("i", {});
  range.style.left = `${100 * row.low}%`;
  range.style.width = `${100 * (row.high - row.low)}%`;
  const point = el("b", {});
  point.style.left = `calc(${100 * row.accuracy}% - 1px)`;
  return el("span", { class: "interval", role: "img", "aria-label": text, title: text }, range, point);
}

function describe(choice, row) {
  const parts = Object.entries(row.factors ?? {}).map(([name, value]) => `${name} = ${value}`);
  if (row.label !== undefined) parts.push(`class = ${className(choice.info, row.label)}`);
  if (row.cluster !== undefined) parts.push(`cluster ${row.cluster}: ${row.labels.map((each) => className(choice.info, each)).join(", ")}…`);
  return parts.join(" and ");
}

function open(choice, row, words) {
  const factor = Object.entries(row.factors ?? {}).map(([name, value]) => `${name}=${value}`);
  const changes = { kind: "", factor, label: row.label ?? "", cluster: row.cluster ?? "" };
  return `/samples?${Address.changed(changes, new URLSearchParams(words))}`;
}

Address.begin(async (current) => {
  document.title = "Slices – qubastore";
  const choice = await Choice.read("a", current);
  if (!choice || !current()) return;
  const kind = KINDS[Address.words().get("kind")] ? Address.words().get("kind") : "factors";
  const words = selected(choice, { kind });
  const tabs = el("div", { class: "bar", role: "group", "aria-label": "Kinds of slices" }, ...Object.entries(KINDS).map(([name, [title]]) =>
    el("button", { type: "button", "aria-pressed": String(name === kind), onclick: () => Address.set({ kind: name === "factors" ? "" : name }) }, title)));
  byId("content").replaceChildren(tabs, el("p", { class: "hint" }, KINDS[kind][1]), el("p", {}, "Looking…"));
  const rows = await ask("slices", words).catch((error) => {
    if (current()) { showError(error); byId("content").prepend(tabs, el("p", { class: "hint" }, KINDS[kind][1])); }
    return null;
  });
  if (!rows || !current()) return;
  const whole = choice.runs[0].accuracy;
  const shown = rows.map((row) => [describe(choice, row), count(row.n), percent(row.accuracy), interval(row),
    whole === null ? "–" : `${row.accuracy >= whole ? "+" : "−"}${Math.abs(100 * (row.accuracy - whole)).toFixed(1)}`,
    el("a", { href: open(choice, row, words) }, "images"), el("a", { href: open(choice, { ...row }, words) + "&a_is=wrong" }, "mistakes")]);
  const empty = { factors: "Nothing is known of these images beside their classes.", found: "No combination has so many more errors than the whole that SliceLine names it: see By factor.", clusters: "No cluster." }[kind];
  byId("content").replaceChildren(tabs, el("p", { class: "hint" }, KINDS[kind][1]),
    rows.length ? table(["Slice", "Images", "Accuracy", "95 % interval", "Against all", "", ""], shown, { text: [0], caption: "Slices" }) : el("p", {}, empty));
});
