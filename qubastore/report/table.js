// The ranking as a table, and the controls next to it.
"use strict";

const AT = Object.fromEntries(DATA.dimensions.map((d, i) => [d.name, i]));

/** A value as its column shows it: in per cent, or in millions. */
function shown(dimension, value) {
  if (value === null) return "–";
  if (dimension.unit === "millions") return value >= 1 ? value.toFixed(1) : value.toFixed(3);
  return (100 * value).toFixed(dimension.name === "calibration_error" ? 2 : 1);
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

const Table = (() => {
  const { state } = State;

  function controls() {
    for (const name of Object.keys(PRESETS)) {
      byId("presets").append(el("button", { type: "button", "data-preset": name, onclick: () => State.set({ factors: { ...PRESETS[name] } }) }, name));
    }
    for (const d of DATA.dimensions) {
      const change = (event) => {
        const factor = Number(event.target.value);
        if (event.target.value !== "" && Number.isFinite(factor) && factor >= 0) State.set({ factors: { ...state.factors, [d.name]: factor } });
      };
      const label = `Weight of ${d.name.replaceAll("_", " ")}`;
      byId("sliders").append(el("div", { class: "slider", title: d.meaning },
        el("span", {}, d.title),
        el("input", { type: "range", min: 0, max: 5, step: 0.25, "data-weight": d.name, "aria-label": label, oninput: change }),
        el("input", { type: "number", min: 0, step: "any", "data-weight": d.name, "aria-label": `${label}, typed`, oninput: change })));
    }
    const choices = (id, pairs) => {
      for (const [value, text] of pairs) byId(id).append(el("option", { value }, text));
      byId(id).addEventListener("change", () => State.set({ [id]: byId(id).value }));
    };
    const named = State.SOURCES.filter((name) => !["auto", "all"].includes(name));
    choices("source", [["auto", "measured first"], ...named.map((name) => [name, name]), ["all", "all"]]);
    choices("normalize", [["auto", "default"], ...(DATA.publishedConstants ? [["published", "the study's constants"]] : []), ["store", "the ranked models"]]);
    for (const id of ["partial", "faultless"]) byId(id).addEventListener("change", () => State.set({ [id]: byId(id).checked }));
    for (const word of State.WORDS) {
      const values = [...new Set(DATA.rows.map((row) => row[word] ?? ""))].sort(Ranking.byText);
      if (values.length < 2) continue;
      const boxes = values.map((value) => el("label", { class: "check" },
        el("input", { type: "checkbox", "data-filter": word, value, onchange: () => {
          const chosen = [...document.querySelectorAll(`[data-filter="${word}"]:checked`)].map((box) => box.value);
          State.set({ [word]: chosen });
        } }), value || "unknown"));
      byId("filters").append(el("div", { class: "choices", role: "group", "aria-label": word }, el("span", {}, word), el("div", {}, ...boxes)));
    }
    const limit = (key, text) => el("input", { type: "number", min: 0, step: "any", id: key, placeholder: text, "aria-label": `${text} millions of parameters`, oninput: (event) => {
      State.set({ [key]: event.target.value === "" ? null : Number(event.target.value) });
    } });
    byId("filters").append(el("div", { class: "span" }, "parameters", limit("min", "from"), limit("max", "to"), "M"));
    byId("search").addEventListener("input", () => State.set({ search: byId("search").value }));
    byId("reset").addEventListener("click", () => {
      State.set({ factors: {}, source: "auto", normalize: "auto", partial: false, faultless: DATA.withoutKnownFaults, search: "", min: null, max: null, architecture: [], pretraining: [], paradigm: [], sort: "quba" });
    });
    byId("copy").addEventListener("click", () => copy(State.command(), "Command copied to the clipboard."));
    byId("link").addEventListener("click", () => copy(State.link(), "Link copied to the clipboard."));
  }

  async function copy(text, message) {
    try {
      await navigator.clipboard.writeText(text);
      byId("message").textContent = message;
    } catch {
      // Not every browser lets a local file use the clipboard: select the text instead.
      byId("command").textContent = text;
      getSelection().selectAllChildren(byId("command"));
      byId("message").textContent = "Selected: press Ctrl-C to copy.";
    }
  }

  function sync() {
    document.querySelectorAll("[data-weight]").forEach((input) => {
      const factor = state.factors[input.dataset.weight] ?? 1;
      if (input !== document.activeElement || Number(input.value) !== factor) input.value = factor;
    });
    const same = (a, b) => DATA.dimensions.every((d) => (a[d.name] ?? 1) === (b[d.name] ?? 1));
    document.querySelectorAll("[data-preset]").forEach((button) => button.setAttribute("aria-pressed", same(PRESETS[button.dataset.preset], state.factors)));
    // The address may select several sources at once.
    if (!State.SOURCES.includes(state.source) && ![...byId("source").options].some((each) => each.value === state.source)) {
      byId("source").append(el("option", { value: state.source }, state.source.replaceAll(",", ", ")));
    }
    for (const id of ["source", "normalize", "search"]) if (byId(id).value !== state[id]) byId(id).value = state[id];
    for (const id of ["partial", "faultless"]) byId(id).checked = state[id];
    for (const id of ["min", "max"]) if (byId(id) !== document.activeElement) byId(id).value = state[id] ?? "";
    document.querySelectorAll("[data-filter]").forEach((box) => { box.checked = state[box.dataset.filter].includes(box.value); });
    byId("command").textContent = State.command();
  }

  function draw(ranking) {
    const w = Ranking.weights(state.factors);
    const there = DATA.dimensions.filter((d, i) => ranking.rows.some((each) => each.row.values[i] !== null));
    const mixed = new Set(ranking.rows.map((each) => each.row.source)).size > 1;
    const partial = ranking.rows.some((each) => each.coverage < 1);
    const sure = ranking.rows.some((each) => each.ranks);
    const heads = [head("rank", "#", "quba")];
    if (sure) heads.push(el("th", { scope: "col", title: "95 % interval of the rank" }, "ranks"));
    heads.push(head("name", "model", "model"));
    if (mixed) heads.push(el("th", { scope: "col", class: "left" }, "source"));
    heads.push(head("", "QUBA", "quba"));
    if (partial) heads.push(el("th", { scope: "col", title: "Share of the total weight for which the model has values" }, "coverage"));
    for (const d of there) heads.push(head(w[AT[d.name]] > 0 ? "" : "off", `${d.title} ${d.better === "up" ? "↑" : "↓"}`, d.name, `${d.meaning}; ${d.unit === "millions" ? "millions" : "per cent"}`));
    const best = there.map((d) => {
      const values = ranking.rows.map((each) => each.row.values[AT[d.name]]).filter((value) => value !== null);
      return (d.better === "up" ? Math.max : Math.min)(...values);
    });
    const word = state.search.trim().toLowerCase();
    const visible = sorted(ranking.rows).filter(({ row }) => !word || `${row.model} ${row.label ?? ""}`.toLowerCase().includes(word));
    const body = el("tbody", {}, ...visible.map((each) => line(each, { w, there, best, mixed, partial, sure })));
    byId("table").replaceChildren(el("thead", {}, el("tr", {}, ...heads)), body);
    byId("count").textContent = ranking.problem ?? `${visible.length} of ${DATA.rows.length} rows`;
    byId("notes").replaceChildren(...notes(ranking, sure).map((note) => el("li", {}, note)));
  }

  function head(kind, text, key, hint = null) {
    const up = state.sort === key;
    return el("th", { scope: "col", class: kind || null, "aria-sort": up && kind !== "rank" ? (key === "model" || DATA.dimensions[AT[key]]?.better === "down" ? "ascending" : "descending") : null, title: hint },
      el("button", { type: "button", "data-sort": key, onclick: () => {
        State.set({ sort: key });
        document.querySelector(`#table [data-sort="${key}"]`)?.focus();
      } }, text, up && key !== "quba" ? " •" : ""));
  }

  function sorted(rows) {
    if (state.sort === "quba") return rows;
    if (state.sort === "model") return [...rows].sort((a, b) => Ranking.byText(a.row.model, b.row.model));
    const at = AT[state.sort];
    if (at === undefined) return rows;
    const sign = DATA.dimensions[at].better === "up" ? -1 : 1;
    const value = (each) => each.row.values[at] ?? sign * Infinity;
    return [...rows].sort((a, b) => sign * (value(a) - value(b)) || a.rank - b.rank);
  }

  function line(each, { w, there, best, mixed, partial, sure }) {
    const { row } = each;
    const cells = [el("td", { class: "rank" }, String(each.rank))];
    if (sure) cells.push(el("td", {}, each.ranks ? (each.ranks[0] === each.ranks[1] ? String(each.ranks[0]) : `${each.ranks[0]}–${each.ranks[1]}`) : "–"));
    cells.push(el("th", { scope: "row", class: "name" }, el("a", { href: "#", title: row.label && row.label !== row.model ? row.label : null, onclick: (event) => {
      event.preventDefault();
      State.set({ view: "model", model: row.model }, { step: true });
      byId("main").focus();
      scrollTo(0, 0);
    } }, row.model)));
    if (mixed) cells.push(el("td", { class: "left" }, row.source));
    cells.push(el("td", { class: "quba", title: each.interval ? `95 %: ${signed(each.interval[0])} to ${signed(each.interval[1])}` : null }, signed(each.quba),
      each.interval ? el("small", {}, ` ±${((each.interval[1] - each.interval[0]) / 2).toFixed(2)}`) : null));
    if (partial) cells.push(el("td", {}, `${Math.round(100 * each.coverage)} %`));
    there.forEach((d, k) => {
      const value = row.values[AT[d.name]];
      const kind = [value !== null && value === best[k] ? "best" : "", w[AT[d.name]] > 0 ? "" : "off"].join(" ").trim();
      const fault = row.faults[d.name];
      cells.push(el("td", { class: kind || null }, shown(d, value), fault ? el("abbr", { class: "fault", title: fault, "aria-label": `known fault: ${fault}` }, "†") : null));
    });
    return el("tr", {}, ...cells);
  }

  function notes(ranking, sure) {
    if (ranking.problem) return [];
    const found = [];
    const published = state.normalize === "published" || (state.normalize === "auto" && DATA.publishedConstants);
    found.push(published ? "Normalised with the constants of the study (Hesse et al., arXiv 2503.17110)." : "Normalised over the ranked models, 10 % trimmed at each end.");
    if (ranking.leftOut) found.push(`${ranking.leftOut} left out: they have no value in a weighted dimension.`);
    if (sure) found.push(`Intervals at 95 %: ${DATA.resamples} paired resamples of the images of measured models, seed ${DATA.seed}. The other rows have no samples here.`);
    if (ranking.rows.some((each) => each.row.origin === "published")) {
      if (ranking.before) found.push(...moved(ranking));
      else if (ranking.rows.some((each) => Object.keys(each.row.faults).length)) found.push("† A figure of the published table with a known fault: hover over it for the reason.");
      found.push("Published figures were measured by another procedure: a model's page explains the differences.");
    }
    return found;
  }

  /** How leaving out figures with a known fault changes the top ranks, as in `rank --without-known-faults`. */
  function moved(ranking) {
    const key = ({ row }) => JSON.stringify([row.model, row.source]);
    const places = new Map(ranking.rows.map((each) => [key(each), each.rank]));
    const unranked = ranking.before.filter((each) => !places.has(key(each))).length;
    const top = ranking.before.slice(0, 10).map((each) => [each.row.model, each.rank, places.get(key(each))]);
    const stay = top.filter(([, , now]) => now !== undefined && now <= 10).length;
    const list = top.filter(([, old, now]) => old !== now).map(([model, old, now]) => `${model} ${old} to ${now ?? "unranked"}`);
    return [
      `Without known faults${unranked ? `: ${unranked} models are unranked for that reason` : ""}.`,
      `Of the first ${top.length} with them, ${stay} stay in the first 10${list.length ? `; changed: ${list.join(", ")}` : ""}.`,
    ];
  }

  return { controls, sync, draw };
})();
