// A query over the store, its rows as a table and a quick chart.
"use strict";

const WORDS = ["select", "from", "where", "group by all", "order by", "limit", "join", "using", "having", "count(*)", "avg", "sum", "min", "max", "round", "distinct", "desc", "filter", "with", "union all", "case", "when", "then", "end", "is null", "is not null"];
const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\))$/i;
const EXAMPLE = "select model, dataset, condition, accuracy\nfrom accuracy\norder by accuracy desc\nlimit 20";

const Completion = (() => {
  const list = el("ul", { id: "words", role: "listbox", hidden: true, "aria-label": "Completions" });
  let found = [];
  let at = 0;
  let known = [];

  async function learn(field) {
    const tables = await ask("tables");
    known = [...new Set([...tables.map((each) => each.name), ...tables.flatMap((each) => each.columns), ...WORDS])];
    if (document.activeElement === field) look(field);
  }

  function start(field) {
    const word = /[\w.]*$/.exec(field.value.slice(0, field.selectionStart))[0];
    return { word, from: field.selectionStart - word.length };
  }

  function look(field) {
    const { word } = start(field);
    found = word.length < 2 ? [] : known.filter((each) => each.startsWith(word.toLowerCase()) && each !== word).slice(0, 12);
    at = 0;
    show(field);
  }

  function show(field) {
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    const before = field.value.slice(0, field.selectionStart).split("\n");
    list.style.top = `${Math.min(field.offsetHeight, 1.45 * 0.9 * 16 * (before.length - 0) + 12 - field.scrollTop)}px`;
    list.style.left = `${Math.min(field.offsetWidth - 180, 12 + 8.1 * (before.at(-1).length))}px`;
    list.replaceChildren(...found.map((each, i) => el("li", { role: "option", "aria-selected": String(i === at), onmousedown: (event) => { event.preventDefault(); at = i; take(field); } }, each)));
  }

  function take(field) {
    const { from } = start(field);
    field.setRangeText(found[at], from, field.selectionStart, "end");
    found = [];
    show(field);
  }

  /** Whether the key was for the list. */
  function key(event, field) {
    if (!found.length) return false;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
    else if (event.key === "Escape") found = [];
    else if (event.key === "Tab" || (event.key === "Enter" && !event.ctrlKey && !event.metaKey)) { take(field); event.preventDefault(); return true; }
    else return false;
    show(field);
    event.preventDefault();
    return true;
  }

  const close = (field) => { found = []; show(field); };
  return { list, learn, look, key, close };
})();

function chart(answer, words) {
  const numeric = answer.columns.filter((_, i) => NUMERIC.test(answer.types[i]));
  if (!numeric.length || !answer.rows.length || answer.columns.length < 2) return null;
  const x = answer.columns.includes(words.get("x")) ? words.get("x") : answer.columns.find((each) => !numeric.includes(each) && !each.endsWith("_id")) ?? answer.columns[0];
  const y = answer.columns.includes(words.get("y")) ? words.get("y") : numeric.findLast((each) => each !== x) ?? numeric[0];
  const both = numeric.includes(x);
  const options = answer.columns.map((each) => [each, each]);
  const place = el("div", { class: "chart" });
  const values = answer.rows.slice(0, both ? 2000 : 60).map((row) => ({ x: row[answer.columns.indexOf(x)], y: row[answer.columns.indexOf(y)] }));
  const spec = {
    data: { values }, height: both ? 300 : Math.min(1200, 18 * values.length),
    mark: both ? "point" : "bar",
    encoding: both ? { x: { field: "x", type: "quantitative", title: x, scale: { zero: false } }, y: { field: "y", type: "quantitative", title: y, scale: { zero: false } } }
      : { y: { field: "x", type: "nominal", title: x, sort: null }, x: { field: "y", type: "quantitative", title: y } },
  };
  const bar = el("div", { class: "bar" }, select("X axis", "x", options, x, (value) => Address.set({ x: value })), select("Y axis", "y", options, y, (value) => Address.set({ y: value })));
  return { element: el("section", {}, el("h3", {}, "Chart"), bar, place), draw: () => Charts.draw(place, spec, `${y} by ${x}`) };
}

function cell(value) {
  if (value === null) return el("span", { class: "hint" }, "null");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(+value.toPrecision(7));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

Address.begin(async (current) => {
  document.title = "SQL – qubastore";
  const words = Address.words();
  const q = words.get("q") ?? "";
  let editor = byId("query");
  if (!editor) {
    editor = el("textarea", { id: "query", "aria-label": "Query", spellcheck: "false", autocomplete: "off", role: "combobox", "aria-expanded": "false", "aria-controls": "words" });
    const run = () => (Completion.close(editor), Address.set({ q: editor.value.trim(), x: "", y: "" }));
    editor.addEventListener("input", () => Completion.look(editor));
    editor.addEventListener("blur", () => Completion.close(editor));
    editor.addEventListener("keydown", (event) => {
      if (Completion.key(event, editor)) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
    });
    byId("main").insertBefore(el("div", {}, el("div", { id: "editor" }, editor, Completion.list),
      el("div", { class: "bar" }, el("button", { type: "button", id: "run", onclick: run }, "Run"), el("span", { class: "hint" }, "Ctrl+Enter runs; Tab completes. The store can only be read."))), byId("message"));
    editor.value = q || EXAMPLE;
    Completion.learn(editor);
    addEventListener("popstate", () => { editor.value = Address.words().get("q") || EXAMPLE; });
  }
  byId("content").replaceChildren();
  if (!q) return;
  byId("content").replaceChildren(el("p", { class: "hint" }, "Running…"));
  const started = performance.now();
  const answer = await ask("sql", { q });
  if (!current()) return;
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  const numeric = answer.types.map((each) => NUMERIC.test(each));
  const drawn = chart(answer, words);
  const rows = answer.rows.slice(0, 1000).map((row) => row.map(cell));
  const said = `${plural(answer.rows.length, "row")}${answer.more ? " and more, left out" : ""}${answer.rows.length > 1000 ? ", the first 1,000 shown" : ""}, ${seconds} s`;
  byId("content").replaceChildren(...[el("p", { role: "status" }, said),
    answer.columns.length ? table(answer.columns, rows, { text: numeric.flatMap((each, i) => (each ? [] : [i])), caption: "Rows" }) : null, drawn?.element].filter((each) => each));
  if (drawn) await drawn.draw();
});
