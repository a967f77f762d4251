// What remains, and how right it is, where the model answers only if it is confident enough.
"use strict";

const SHOWN = 12;

function curves(found, at) {
  const rows = found.kept.flatMap((n, step) => [
    { threshold: step / 1000, what: "coverage", value: n / found.n },
    ...(n ? [{ threshold: step / 1000, what: "accuracy", value: found.right[step] / n }] : []),
  ]);
  return {
    data: { values: rows },
    height: 260,
    layer: [
      { mark: { type: "line", interpolate: "step-after" }, encoding: { x: { field: "threshold", type: "quantitative", title: "threshold on the confidence", scale: { domain: [0, 1] } }, y: { field: "value", type: "quantitative", title: null, scale: { domain: [0, 1] }, axis: { format: "%" } }, color: { field: "what", type: "nominal", title: null } } },
      { data: { values: [{ threshold: at / 1000 }] }, mark: { type: "rule", strokeDash: [4, 3], color: Charts.colour("ink") }, encoding: { x: { field: "threshold", type: "quantitative" } } },
    ],
  };
}

function numbers(found, at) {
  const n = found.kept[at];
  const accuracy = n ? found.right[at] / n : null;
  const left = found.n - n;
  const rest = left ? (found.right[0] - found.right[at]) / left : null;
  return [`threshold ${(at / 1000).toFixed(3)}`, `${count(n)} of ${count(found.n)} answered (${percent(n / found.n)})`, `accuracy ${percent(accuracy)}`, `accuracy of the ${count(left)} left out: ${percent(rest)}`];
}

Address.begin(async (current) => {
  document.title = "Thresholds – qubastore";
  const choice = await Choice.read("a", current);
  if (!choice || !current()) return;
  const words = selected(choice, { low: "", high: "" });
  const found = await ask("thresholds", words);
  if (!current()) return;
  let at = Math.min(1000, Math.max(0, Math.round(1000 * Number(words.get("at") ?? 0.5)) | 0));
  const figures = el("div", { class: "big", role: "status" });
  const chart = el("div", { class: "chart" });
  const sides = el("div", { class: "columns" });
  const pairs = el("div", {});
  const slider = el("input", { type: "range", id: "threshold", min: 0, max: 1000, step: 1, value: at, "aria-label": "Threshold on the confidence, in thousandths" });
  const write = () => figures.replaceChildren(...numbers(found, at).map((each) => el("span", {}, each)));

  async function images() {
    const mine = at;
    const t = at / 1000;
    const side = async (title, given) => {
      const rows = await ask("samples", [...words, ["limit", SHOWN], ["sort", "confidence"], ...Object.entries(given)]);
      choice.absent = rows.absent;
      const link = `/samples?${Address.changed({ ...given, at: "", sort: "confidence" }, new URLSearchParams(words))}`;
      return el("section", {}, el("h3", {}, title, " ", el("a", { href: link }, plural(rows.n, "image"))),
        rows.n ? Grid.make(rows.rows, choice, words, { label: title }) : el("p", { class: "hint" }, "none"));
    };
    const below = t > 0 ? [await side("Just left out", { below: t, order: "desc" })] : [];
    const above = await side("Just kept", { low: t, order: "" });
    const confused = found.kept[at] ? await ask("confusions", [...words, ["low", t]]) : { cells: [] };
    if (mine !== at || !current()) return;
    sides.replaceChildren(...below, above);
    const wrong = confused.cells.filter(([label, prediction]) => label !== prediction).sort((x, y) => y[2] - x[2]).slice(0, 10);
    pairs.replaceChildren(el("h3", {}, "What is still confused"), wrong.length ? table(["Label", "Answer", "Images"], wrong.map(([label, prediction, n]) =>
      [className(choice.info, label), className(choice.info, prediction), el("a", { href: `/samples?${Address.changed({ label, prediction, low: t, at: "" }, new URLSearchParams(words))}` }, count(n))]), { text: [0, 1], caption: "Confused pairs" })
      : el("p", { class: "hint" }, found.kept[at] ? "Nothing: all that is kept is right." : "Nothing is kept."));
  }

  let later = 0;
  const moved = async () => {
    at = Number(slider.value);
    write();
    clearTimeout(later);
    later = setTimeout(() => {
      history.replaceState(null, "", `?${Address.changed({ ...choice.given, at: at / 1000 })}`);
      window.drawn = Promise.all([Charts.draw(chart, curves(found, at), "Coverage and accuracy by threshold"), images()]).catch(showError);
    }, 150);
  };
  slider.addEventListener("input", moved);
  byId("content").replaceChildren(figures, slider, el("div", {}, sqlLink(found.sql)), chart, sides, pairs);
  write();
  await Promise.all([Charts.draw(chart, curves(found, at), "Coverage and accuracy by threshold"), images()]);
});
