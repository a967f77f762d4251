// A scatter plot of any two dimensions, and the correlations of all nine.
"use strict";

const Explore = (() => {
  const { state } = State;

  function controls() {
    for (const id of ["x", "y"]) {
      for (const d of DATA.dimensions) byId(id).append(el("option", { value: d.name }, d.name.replaceAll("_", " ")));
      byId(id).addEventListener("change", () => State.set({ [id]: byId(id).value }));
    }
  }

  function draw(ranking) {
    byId("x").value = state.x;
    byId("y").value = state.y;
    const shows = (row, name) => row.values[AT[name]] !== null && (DATA.dimensions[AT[name]].unit !== "millions" || row.values[AT[name]] > 0);
    const rows = ofSource(ranking.pool).filter((row) => shows(row, state.x) && shows(row, state.y));
    pins();
    return Promise.all([scatter(rows, ranking), heat(ranking.pool)]);
  }

  /** The rows of the ranked source. */
  function ofSource(pool) {
    return pool.filter((row) => Ranking.isOf(row, pool.ranked ?? "all"));
  }

  function field(d) {
    return d.unit === "millions" ? d.name : `${d.name} (%)`;
  }

  function values(row, ranks) {
    const found = { model: row.model, paper: row.paper ?? "–", architecture: row.architecture ?? "unknown", paradigm: row.paradigm ?? "unknown", pretraining: row.pretraining ?? "unknown", source: row.source, QUBA: ranks.has(row) ? signed(ranks.get(row)) : "not ranked" };
    for (const d of DATA.dimensions) {
      const value = row.values[AT[d.name]];
      found[`_${d.name}`] = value === null ? null : d.unit === "millions" ? value : 100 * value;
      found[field(d)] = shown(d, value);
    }
    return found;
  }

  /** The Pareto front of the two dimensions: rows that no other row of the same source dominates. */
  function front(rows) {
    const [dx, dy] = [state.x, state.y].map((name) => DATA.dimensions[AT[name]]);
    const sign = (d) => (d.better === "up" ? 1 : -1);
    const point = (row) => [sign(dx) * row.values[AT[dx.name]], sign(dy) * row.values[AT[dy.name]]];
    return rows.filter((row) => {
      const [x, y] = point(row);
      return !rows.some((other) => {
        const [ox, oy] = point(other);
        return other.source === row.source && ox >= x && oy >= y && (ox > x || oy > y);
      });
    });
  }

  async function scatter(rows, ranking) {
    if (!rows.length) {
      byId("scatter").replaceChildren(el("p", { class: "hint" }, "No model that passes the filters has both dimensions."));
      return;
    }
    const ranks = new Map(ranking.rows.map((each) => [each.row, each.quba]));
    const best = new Set(front(rows));
    const data = rows.map((row) => ({ ...values(row, ranks), front: best.has(row), pinned: state.pins.includes(row.model) }));
    const axis = (name) => {
      const d = DATA.dimensions[AT[name]];
      const log = d.unit === "millions";
      return { field: `_${name}`, type: "quantitative", title: `${name.replaceAll("_", " ")} (${log ? "millions, " : "%, "}${d.better === "up" ? "more" : "less"} is better)`, scale: log ? { type: "log" } : { zero: false } };
    };
    const tooltip = ["model", "QUBA", "paper", "architecture", "paradigm", "pretraining", "source", ...DATA.dimensions.map(field)].map((name) => ({ field: name, type: "nominal", title: name }));
    const order = { field: `_${state.x}`, type: "quantitative" };
    const view = await Charts.draw(byId("scatter"), {
      height: 430,
      data: { values: data },
      encoding: { x: axis(state.x), y: axis(state.y) },
      layer: [
        { transform: [{ filter: "datum.front" }], mark: { type: "line", strokeDash: [4, 3], color: Charts.colour("dim"), interpolate: "linear", aria: false }, encoding: { order, detail: { field: "source" } } },
        {
          mark: { type: "point", filled: false, size: 55, strokeWidth: 1.6, cursor: "pointer" },
          encoding: {
            color: { field: "architecture", type: "nominal", title: "architecture" },
            shape: { field: "paradigm", type: "nominal", title: "paradigm" },
            size: { condition: { test: "datum.pinned", value: 220 }, value: 55 },
            tooltip,
          },
        },
        ...(data.some((row) => row.pinned) ? [{ transform: [{ filter: "datum.pinned" }], mark: { type: "text", dy: -13, fontWeight: 600, color: Charts.colour("ink") }, encoding: { text: { field: "model" } } }] : []),
      ],
      config: { legend: { orient: matchMedia("(max-width: 820px)").matches ? "bottom" : "right", columns: 1 } },
    }, `${state.y} against ${state.x}, ${rows.length} models; the dashed line is the Pareto front`);
    view.addEventListener("click", (_, item) => {
      const model = item?.datum?.model;
      if (model) State.set({ pins: state.pins.includes(model) ? state.pins.filter((other) => other !== model) : [...state.pins, model] });
    });
  }

  function pins() {
    const rows = state.pins.flatMap((model) => State.rows().filter((row) => row.model === model));
    if (!rows.length) {
      byId("pins").replaceChildren();
      return;
    }
    const unpin = (model) => el("button", { type: "button", "aria-label": `Unpin ${model}`, onclick: () => State.set({ pins: state.pins.filter((other) => other !== model) }) }, "×");
    const lines = DATA.dimensions.map((d) => {
      const all = rows.map((row) => row.values[AT[d.name]]);
      const there = all.filter((value) => value !== null);
      const best = there.length ? (d.better === "up" ? Math.max : Math.min)(...there) : null;
      return el("tr", {}, el("th", { scope: "row", class: "left" }, `${d.title} ${d.better === "up" ? "↑" : "↓"}`),
        ...all.map((value) => el("td", { class: value !== null && value === best && rows.length > 1 ? "best" : null }, shown(d, value))));
    });
    byId("pins").replaceChildren(el("h3", {}, "Pinned"), el("div", { class: "scroll" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}), ...rows.map((row) => el("th", { scope: "col" }, row.model, " ", unpin(row.model))))),
      el("tbody", {}, ...lines))));
  }

  function ranksOf(values) {
    const order = values.map((value, i) => [value, i]).sort((a, b) => a[0] - b[0]);
    const ranks = new Array(values.length);
    for (let first = 0; first < order.length;) {
      let last = first;
      while (last + 1 < order.length && order[last + 1][0] === order[first][0]) last++;
      for (let k = first; k <= last; k++) ranks[order[k][1]] = (first + last) / 2 + 1;
      first = last + 1;
    }
    return ranks;
  }

  /** Spearman's rank correlation with mean ranks for ties; null for fewer than three pairs or without spread. */
  function spearman(a, b) {
    const pairs = a.map((value, i) => [value, b[i]]).filter(([x, y]) => x !== null && y !== null);
    if (pairs.length < 3) return null;
    const [x, y] = [0, 1].map((k) => ranksOf(pairs.map((pair) => pair[k])));
    const mean = (pairs.length + 1) / 2;
    const sum = (u, v) => u.reduce((total, value, i) => total + (value - mean) * (v[i] - mean), 0);
    const spread = Math.sqrt(sum(x, x) * sum(y, y));
    return spread > 0 ? sum(x, y) / spread : null;
  }

  async function heat(pool) {
    const counted = ofSource(pool);
    const columns = DATA.dimensions.map((d, i) => counted.map((row) => row.values[i]));
    const cells = [];
    DATA.dimensions.forEach((one, i) => DATA.dimensions.forEach((other, j) => {
      const rho = i === j ? null : spearman(columns[i], columns[j]);
      if (rho !== null) cells.push({ one: one.title, other: other.title, rho });
    }));
    const order = DATA.dimensions.map((d) => d.title);
    const narrow = matchMedia("(max-width: 820px)").matches;
    if (!cells.length) {
      byId("heat").replaceChildren(el("p", { class: "hint" }, "Too few models to correlate: no two dimensions have values for three models."));
      return;
    }
    await Charts.draw(byId("heat"), {
      height: 300,
      data: { values: cells },
      encoding: { x: { field: "other", type: "nominal", sort: order, title: null, axis: { labelAngle: -40 } }, y: { field: "one", type: "nominal", sort: order, title: null } },
      layer: [
        { mark: "rect", encoding: { color: { field: "rho", type: "quantitative", title: "rho", ...(narrow ? { legend: null } : {}), scale: { domain: [-1, 0, 1], interpolate: "rgb", range: ["#d55e00", Charts.colour("soft"), "#0072b2"] } }, tooltip: [{ field: "one" }, { field: "other" }, { field: "rho", format: "+.3f" }] } },
        { mark: { type: "text", fontSize: narrow ? 8 : 11, color: Charts.colour("ink") }, encoding: { text: { field: "rho", type: "quantitative", format: narrow ? ".2f" : "+.2f" } } },
      ],
    }, "Spearman correlation of every pair of dimensions");
  }

  return { controls, draw, spearman };
})();
