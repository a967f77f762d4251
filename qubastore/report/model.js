// Everything that the store has on one model, and how it compares with its peers.
"use strict";

const Model = (() => {
  const { state } = State;
  const grey = () => Charts.colour("dim");
  const asked = new Map();

  function controls() {
    byId("which").addEventListener("change", () => State.set({ model: byId("which").value }, { step: true }));
  }

  function draw(ranking) {
    const names = [...new Set(DATA.rows.map((row) => row.model))];
    const first = names.includes(state.model) ? state.model : ranking.rows[0]?.row.model ?? names[0];
    if (byId("which").options.length !== names.length) byId("which").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    byId("which").value = first;
    byId("model-title").textContent = first;
    const rows = State.rows().filter((row) => row.model === first);
    byId("card").replaceChildren(...rows.flatMap((row) => [facts(row, ranking), peers(row, ranking)]));
    const detail = DATA.details[first];
    if (detail === null) return ask(first);
    return detail ? parts(detail, first) : unmeasured(first, rows);
  }

  /** Ask the server that serves the page for what it left out. */
  async function ask(model) {
    const waiting = el("p", { class: "hint" }, "Reading…");
    byId("card").append(waiting);
    asked.set(model, asked.get(model) ?? fetch(`/api/model?${new URLSearchParams({ suite: DATA.suite, model })}`).then((answer) => answer.json()));
    const given = await asked.get(model).catch((error) => ({ what: error.message }));
    waiting.textContent = given.what ?? "";
    if (given.what) {
      asked.delete(model);
      return;
    }
    DATA.details[model] = given.detail;
    DATA.trainings = given.trainings;
    if (waiting.isConnected) await parts(given.detail, model);
  }

  function facts(row, ranking) {
    const place = ranking.rows.find((each) => each.row === row);
    const words = [row.source, row.architecture, row.paradigm, row.pretraining].filter(Boolean);
    const isPinned = state.pins.includes(row.model);
    const pin = el("button", { type: "button", "aria-pressed": String(isPinned), onclick: () => State.set({ pins: isPinned ? state.pins.filter((other) => other !== row.model) : [...state.pins, row.model] }) }, isPinned ? "Pinned in Explore" : "Pin in Explore");
    if (place) words.push(`rank ${place.rank} of ${ranking.rows.length}, QUBA ${signed(place.quba)}`);
    return el("p", {}, words.join(" · "), row.paper ? el("br") : null, row.paper ?? "", " ", pin);
  }

  function peers(row, ranking) {
    const of = ranking.pool.filter((other) => other !== row && other.source === row.source);
    const lines = DATA.dimensions.map((d, i) => {
      const value = row.values[i];
      const there = of.map((other) => other.values[i]).filter((other) => other !== null);
      if (value === null) return el("div", { class: "peer" }, el("span", {}, d.title), el("span", { class: "hint" }, row.faults[d.name] ? "left out: known fault" : "missing"), el("b", {}, "–"), el("span", {}, ""));
      const worse = there.filter((other) => (d.better === "up" ? other < value : other > value)).length;
      const peersCount = there.length;
      const share = peersCount > 0 ? worse / peersCount : 0;
      const fault = row.faults[d.name];
      return el("div", { class: "peer", title: d.meaning },
        el("span", {}, d.name.replaceAll("_", " "), fault ? el("abbr", { class: "fault", title: fault }, " †") : null),
        el("div", { class: "track", role: "img", "aria-label": `better than ${Math.round(100 * share)} % of ${peersCount}` }, el("i", { style: `width:${(100 * share).toFixed(1)}%` })),
        el("b", {}, shown(d, value), d.unit === "millions" ? " M" : " %"),
        el("span", {}, peersCount > 0 ? `better than ${Math.round(100 * share)} %` : "no peers"));
    });
    const faults = Object.entries(row.faults).map(([name, why]) => el("li", {}, `† ${name.replaceAll("_", " ")}: ${why}`));
    const others = row.protocol.map(([what, detail, names]) => el("li", {}, `another procedure: ${DATA.protocols[what]}${detail ? ` (${detail})` : ""}: ${names.join(", ").replaceAll("_", " ")}`));
    const remarks = [...faults, ...others];
    return el("div", {}, el("h3", {}, `Compared with ${of.length} ${row.source} peers`), ...lines, remarks.length ? el("ul", { class: "missing" }, ...remarks) : null);
  }

  function unmeasured(model, rows) {
    const origins = rows.map((row) => (row.origin === "published" ? "published figures" : `figures of ${row.source}`)).join(", ");
    const spec = model.includes(":") ? model : `zoo:${model}`;
    byId("card").append(el("div", { class: "missing" }, el("p", {}, `Only ${origins} are available: the model was not measured in this store. To measure it:`),
      el("code", {}, `qubastore ingest --model ${State.shell(spec)} --suite ${DATA.suite} --data-root DIR`)));
  }

  const TOP = { orient: "top", title: null };
  const PARTS = [
    ["reliability", "Reliability: accuracy by confidence", (rows) => ({
      height: 210,
      layer: [
        { data: { values: rows }, mark: { type: "bar", tooltip: true }, encoding: { x: { field: "low", type: "quantitative", title: "confidence", scale: { domain: [0, 1] }, bin: { binned: true } }, x2: { field: "high" }, y: { field: "accuracy", type: "quantitative", title: "accuracy", scale: { domain: [0, 1] } }, tooltip: [{ field: "n" }, { field: "accuracy", format: ".3f" }, { field: "confidence", format: ".3f" }] } },
        { data: { values: [{ x: 0, y: 0 }, { x: 1, y: 1 }] }, mark: { type: "line", strokeDash: [4, 3], color: grey() }, encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" } } },
      ],
    })],
    ["confidence", "Distribution of confidence", (rows) => ({
      height: 210,
      data: { values: rows.flatMap((row) => [{ ...row, answer: "right", count: row.n_correct }, { ...row, answer: "wrong", count: row.n - row.n_correct }]) },
      mark: "bar",
      encoding: { x: { field: "low", type: "quantitative", title: "confidence", bin: { binned: true }, scale: { domain: [0, 1] } }, x2: { field: "high" }, y: { field: "count", type: "quantitative", title: "images", stack: true }, color: { field: "answer", type: "nominal", title: null, legend: TOP }, tooltip: [{ field: "answer" }, { field: "count" }] },
    })],
    ["corruptions", "Accuracy by corruption and severity", (rows) => ({
      height: 260, data: { values: rows }, mark: { type: "line", point: true },
      encoding: { x: { field: "severity", type: "ordinal", axis: { labelAngle: 0 } }, y: { field: "accuracy", type: "quantitative" }, color: { field: "corruption", type: "nominal", legend: { orient: "bottom", columns: 3, title: null, columnPadding: 14 }, scale: { scheme: "tableau20" } }, detail: { field: "corruption" }, tooltip: [{ field: "corruption" }, { field: "severity" }, { field: "accuracy", format: ".3f" }] },
    })],
    ["shape", "Shape bias by category", (rows) => ({
      height: 18 * new Set(rows.map((row) => row.category)).size + 10,
      data: { values: [...rows.map((row) => ({ ...row, who: "model" })), ...DATA.people.map((row) => ({ ...row, who: "people" }))] },
      mark: { type: "point", filled: true, size: 70 },
      encoding: { y: { field: "category", type: "nominal", title: null }, x: { field: "shape_bias", type: "quantitative", title: "share of shape decisions", scale: { domain: [0, 1] } }, color: { field: "who", type: "nominal", title: null, legend: TOP }, shape: { field: "who", type: "nominal", legend: TOP }, tooltip: [{ field: "who" }, { field: "category" }, { field: "shape_bias", format: ".3f" }] },
    })],
    ["imagenet_x", "ImageNet-X: error with the factor / error overall", (rows) => ({
      height: 18 * rows.length + 10, data: { values: rows },
      layer: [
        { mark: "rule", encoding: { y: { field: "factor", type: "nominal", sort: "-x", title: null }, x: { field: "low", type: "quantitative", title: "error ratio" }, x2: { field: "high" } } },
        { mark: { type: "point", filled: true }, encoding: { y: { field: "factor", type: "nominal", sort: "-x" }, x: { field: "error_ratio", type: "quantitative" }, tooltip: [{ field: "factor" }, { field: "n" }, { field: "error_ratio", format: ".3f" }] } },
      ],
    })],
    ["classes", "Worst classes", (rows) => ({
      height: 18 * rows.length + 10,
      data: { values: rows.map((row) => ({ ...row, named: rows.some((other) => other !== row && other.class_name === row.class_name) ? `${row.class_name} (${row.class})` : row.class_name })) }, mark: "bar",
      encoding: { y: { field: "named", type: "nominal", sort: null, title: null }, x: { field: "accuracy", type: "quantitative", scale: { domain: [0, 1] } }, tooltip: [{ field: "class_name" }, { field: "n" }, { field: "accuracy", format: ".3f" }] },
    })],
    ["invariance", "Accuracy under scale, shift and resolution", (rows) => ({
      data: { values: rows }, height: 210,
      mark: { type: "line", point: true },
      encoding: { x: { field: "amount", type: "quantitative", scale: { zero: false } }, y: { field: "accuracy", type: "quantitative" }, color: { field: "transformation", type: "nominal", title: null, legend: TOP }, strokeDash: { field: "direction", type: "nominal", title: null, legend: TOP }, tooltip: [{ field: "transformation" }, { field: "amount" }, { field: "accuracy", format: ".3f" }, { field: "consistency", format: ".3f" }] },
    })],
  ];

  // The dimensions of the checkpoints of a training, which are shares; the model's own step is marked.
  function trajectory(rows, model) {
    const named = rows.map((row) => ({ ...row, dimension: row.dimension.replaceAll("_", " ") }));
    const encoding = { x: { field: "step", type: "quantitative", title: "step" }, y: { field: "value", type: "quantitative", title: null }, color: { field: "dimension", type: "nominal", legend: { orient: "bottom", columns: 2, title: null, columnPadding: 14 }, scale: { scheme: "tableau10" } }, tooltip: [{ field: "dimension" }, { field: "step" }, { field: "value", format: ".4f" }] };
    return { height: 260, layer: [
      { data: { values: named }, mark: { type: "line", point: true }, encoding },
      { data: { values: named.filter((row) => row.model === model) }, mark: { type: "point", size: 160 }, encoding },
    ] };
  }

  async function parts(detail, model) {
    const cards = el("div", { class: "cards" });
    byId("card").append(cards);
    const drawn = [];
    for (const [training, rows] of Object.entries(DATA.trainings)) {
      if (!rows.some((row) => row.model === model)) continue;
      const place = el("div", { class: "chart" });
      cards.append(el("div", {}, el("h3", {}, `Over the training ${training}`), place));
      drawn.push(Charts.draw(place, trajectory(rows, model), `Dimensions over the training ${training}, ${model}`));
    }
    for (const [part, heading, spec] of PARTS) {
      const rows = detail[part];
      if (rows?.length) {
        const place = el("div", { class: "chart" });
        cards.append(el("div", {}, el("h3", {}, heading), place));
        drawn.push(Charts.draw(place, spec(rows), `${heading}, ${model}`));
      } else if (DATA.make[part]) {
        cards.append(el("div", { class: "missing" }, el("h3", {}, heading), el("p", {}, "The store has no data for this chart. To make it:"), el("code", {}, DATA.make[part].replace("MODEL", () => State.shell(model)))));
      }
    }
    if (detail.lacks?.length) {
      byId("card").append(el("div", { class: "missing" }, el("h3", {}, "Missing for dimensions"),
        ...detail.lacks.map((lack) => el("p", {}, `${lack.dimension.replaceAll("_", " ")}: ${lack.run}, ${lack.why}`, lack.make ? el("code", {}, lack.make) : null))));
    }
    await Promise.all(drawn);
  }

  return { controls, draw };
})();
