// What all pages share: the address, questions to the server, the choice of a dataset and models.
"use strict";

/** The address holds the whole state of a page, so that every state can be linked to. */
const Address = (() => {
  let drawPage = () => {};
  const words = () => new URLSearchParams(location.search);

  /** Change parameters (a list repeats one, "" or null removes it) and draw the page again. */
  function set(changes, { step = true } = {}) {
    const text = changed(changes);
    if (text !== words().toString()) history[step ? "pushState" : "replaceState"](null, "", text ? `?${text}` : location.pathname);
    drawPage();
  }

  function changed(changes, from = words()) {
    for (const [name, value] of Object.entries(changes)) {
      from.delete(name);
      for (const each of [].concat(value ?? [])) if (each !== "") from.append(name, each);
    }
    return from.toString();
  }

  /** Draw the page now and whenever the address changes; errors are shown in place of its content. */
  function begin(draw) {
    let turn = 0;
    drawPage = () => {
      const mine = ++turn;
      window.drawn = (async () => {
        try {
          await draw(() => mine === turn);
          if (mine === turn) relink();
        } catch (error) {
          if (mine === turn) showError(error);
        }
      })();
    };
    addEventListener("popstate", drawPage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawPage());
    drawPage();
  }

  /** The navigation keeps the dataset and the models. */
  function relink() {
    for (const link of document.querySelectorAll("nav.pages a")) {
      const kept = new URLSearchParams();
      for (const name of ["dataset", "a", "b", "c"]) if (words().get(name)) kept.set(name, words().get(name));
      const path = new URL(link.href).pathname;
      link.href = ["/samples", "/confusions", "/slices", "/thresholds"].includes(path) && `${kept}` ? `${path}?${kept}` : path;
    }
  }

  return { words, set, changed, begin };
})();

/** An answer of the server that says what is wrong, in parts. */
class Refused extends Error {
  constructor(parts) {
    super(parts.what);
    this.parts = parts;
  }
}

/** Ask the server; `given` are parameters as an object or pairs. */
async function ask(path, given = {}) {
  const response = await fetch(`/api/${path}?${new URLSearchParams(given)}`);
  if (response.headers.get("content-type") !== "application/json") throw new Error(await response.text());
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer);
  return answer;
}

function showError(error) {
  const parts = error.parts ?? { what: error.message };
  const lines = [["expected", parts.expected], ["found", parts.found], ["try", parts.hint]].filter(([, text]) => text);
  byId("content").replaceChildren(el("div", { class: "wrong", role: "alert" },
    el("strong", {}, parts.what), ...lines.map(([name, text]) => el("div", {}, `${name}: ${text}`))));
}

const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
const count = (n) => n.toLocaleString("en");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** A class as readers know it: its English name where its own is a synset. */
function className(info, number) {
  if (number === null || number === undefined) return "–";
  return info.titles?.[number] ?? info.classes[number] ?? `class ${number}`;
}

/** Labelled select; `options` are [value, text] pairs. */
function select(label, name, options, value, change) {
  const field = el("select", { name, onchange: (event) => change(event.target.value) },
    ...options.map(([each, text]) => el("option", { value: each, selected: String(each) === String(value) }, text)));
  return el("label", {}, `${label} `, field);
}

/** The dataset and the runs that the address chooses, with the fields to choose others. */
const Choice = (() => {
  let overview = null;
  const infos = new Map();

  const runName = (info, run) => {
    const differs = (name) => new Set(info.runs.map((each) => each[name])).size > 1;
    const more = ["framing", "precision", "decoder"].filter(differs).map((name) => run[name]);
    if (run.condition !== "clean") more.unshift(run.condition);
    return run.model + (more.length ? ` (${more.join(", ")})` : "");
  };

  /** Read the choice. With `letters` "ab", up to two runs; null means that the store has nothing to choose from. */
  async function read(letters, current = () => true) {
    const named = Address.words().get("dataset");
    // Both at once, where the address says which dataset.
    if (named && !infos.has(named)) {
      const [whole, found] = await Promise.all([overview ?? ask("overview"), ask("dataset", { id: named })]);
      overview = whole;
      infos.set(named, found);
    }
    overview ??= await ask("overview");
    byId("about").textContent = overview.store;
    if (!overview.datasets.length) {
      byId("content").replaceChildren(el("p", {}, "The store has no complete run yet: qubastore ingest adds some."));
      return null;
    }
    const words = Address.words();
    // A link may name runs without their dataset.
    let id = words.get("dataset") ?? (words.get("a") ? null : overview.datasets[0].dataset_id);
    if (id === null || !infos.has(id)) {
      const found = await ask("dataset", id === null ? { run: words.get("a") } : { id });
      id = found.dataset_id;
      infos.set(id, found);
    }
    const info = infos.get(id);
    const chosen = {};
    const missing = [];
    for (const letter of letters) {
      const wanted = words.get(letter);
      if (!wanted) continue;
      const run = info.runs.find((each) => each.run_id === wanted);
      if (run) chosen[letter] = run;
      else missing.push(wanted);
    }
    if (!current()) return null;
    fields(letters, info, { ...chosen, a: chosen.a ?? info.runs[0] });
    if (missing.length) {
      infos.delete(id); // it may have been completed since
      throw new Error(`${info.name} has no complete run ${missing.join(", ")}: choose another above`);
    }
    chosen.a ??= info.runs[0];
    if (!chosen.a) throw new Error(`${info.name} has no complete run: choose another dataset above`);
    const runs = [...letters].filter((letter) => chosen[letter]).map((letter) => chosen[letter]);
    const given = { dataset: id };
    [..."abc"].forEach((letter, at) => (given[letter] = runs[at]?.run_id ?? ""));
    return { info, runs, given, name: (run) => runName(info, run) };
  }

  /** Without a model B, C becomes B. */
  function closed(letter, value) {
    const words = Address.words();
    if (letter === "b" && !value && words.get("c")) return { b: words.get("c"), b_is: words.get("c_is") ?? "", c: "", c_is: "" };
    return value ? {} : { [`${letter}_is`]: "" };
  }

  function fields(letters, info, chosen) {
    const datasets = overview.datasets.map((each) => [each.dataset_id, `${each.name}, ${plural(each.n_samples, "image")}`]);
    const form = byId("choice");
    const focused = document.activeElement?.name;
    form.hidden = false;
    form.onsubmit = (event) => event.preventDefault();
    const all = info.runs.map((run) => [run.run_id, runName(info, run)]);
    form.replaceChildren(
      select("Dataset", "dataset", datasets, info.dataset_id, (value) =>
        Address.set({ dataset: value, a: "", b: "", c: "", label: "", prediction: "", factor: "", cluster: "", page: "" })),
      ...[...letters].map((letter) => {
        const options = letter === "a" ? all : [["", "–"], ...all];
        const text = letters.length > 1 ? letter.toUpperCase() : "Model";
        return select(text, letter, options, chosen[letter]?.run_id ?? "", (value) =>
          Address.set({ dataset: info.dataset_id, a: chosen.a.run_id, [letter]: value, page: "", cluster: "", ...closed(letter, value) }));
      }),
    );
    if (focused) form.elements[focused]?.focus();
  }

  return { read };
})();

/** The part of an address that a selection of images is made of. */
function selected(choice, changes = {}) {
  const words = Address.words();
  for (const [name, value] of Object.entries(choice.given)) value ? words.set(name, value) : words.delete(name);
  return new URLSearchParams(Address.changed(changes, words));
}

/** A link to the SQL page with a query, which is the one that was asked. */
function sqlLink(query) {
  return el("a", { href: `/sql?${new URLSearchParams({ q: query })}` }, "as SQL");
}

/** A table of rows that are arrays of text, numbers or elements; the columns in `text` are aligned left. */
function table(columns, rows, { text = [0], caption = "" } = {}) {
  const side = (at) => (text.includes(at) ? "text" : null);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || columns.join(", ") },
    el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((each, at) => el("th", { scope: "col", class: side(at) }, each)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((each, at) => el("td", { class: side(at) }, each ?? "–")))))));
}
