// The images of a selection: filters above, thumbnails below.
"use strict";

const PER_PAGE = 200;
const PRESETS = {
  "": "own choice",
  a_wrong: "A wrong", a_right: "A right", a_wrong_b_right: "A wrong, B right", a_right_b_wrong: "A right, B wrong",
  all_wrong: "all wrong", all_right: "all right", agree_wrong: "all agree against the label", differ: "answers differ",
};

function presetOf(words, n) {
  const is = [..."abc"].slice(0, n).map((letter) => words.get(`${letter}_is`) ?? "any");
  const agree = words.get("agree") ?? "any";
  return Object.keys(PRESETS).find((name) => name && same(asked(name, n), is, agree)) ?? "";
}

function asked(name, n) {
  const all = (value) => Array(n).fill(value);
  const first = (...values) => all("any").map((each, i) => values[i] ?? each);
  return {
    a_wrong: [first("wrong"), "any"], a_right: [first("right"), "any"],
    a_wrong_b_right: [first("wrong", "right"), "any"], a_right_b_wrong: [first("right", "wrong"), "any"],
    all_wrong: [all("wrong"), "any"], all_right: [all("right"), "any"],
    agree_wrong: [all("wrong"), "same"], differ: [all("any"), "differ"],
  }[name];
}

const same = ([is, agree], otherIs, otherAgree) => agree === otherAgree && is.join() === otherIs.join();

function filters(choice) {
  const words = Address.words();
  const n = choice.runs.length;
  const put = (changes) => Address.set({ dataset: choice.given.dataset, a: choice.given.a, page: "", ...changes });
  const classes = [["", "any"], ...choice.info.classes.map((_, i) => [i, className(choice.info, i)]).sort((x, y) => x[1].localeCompare(y[1]))];
  const ways = Object.entries(PRESETS).filter(([name]) => n > 1 || ["", "a_wrong", "a_right"].includes(name));
  const text = (label, name, attributes) => el("label", {}, `${label} `,
    el("input", { name, value: words.get(name) ?? "", onchange: (event) => put({ [name]: event.target.value }), ...attributes }));
  const number = { type: "number", min: "0", max: "1", step: "0.01", class: "short" };
  const controls = [
    select("Show", "show", [["any", "all images"], ...ways], words.has("agree") || [..."abc"].some((l) => words.has(`${l}_is`)) ? presetOf(words, n) : "any", (value) => {
      const [is, agree] = value === "any" || value === "" ? [[], "any"] : asked(value, n);
      const changes = { agree: agree === "any" ? "" : agree };
      [..."abc"].forEach((letter, i) => (changes[`${letter}_is`] = !is[i] || is[i] === "any" ? "" : is[i]));
      put(changes);
    }),
    choice.info.classes.length ? select("Class", "label", classes, words.get("label") ?? "", (value) => put({ label: value })) : null,
    choice.info.classes.length ? select("Answer of A", "prediction", classes, words.get("prediction") ?? "", (value) => put({ prediction: value })) : null,
    text("Confidence from", "low", number), text("to", "high", number),
    select("Sort by", "sort", ["sample", "confidence", "loss", "margin", ...(n > 1 ? ["disagreement"] : [])].map((each) => [each, each === "sample" ? "place in the dataset" : each]),
      words.get("sort") ?? "sample", (value) => put({ sort: value === "sample" ? "" : value, order: value === "sample" ? "" : "desc" })),
    select("Order", "order", [["", "smallest first"], ["desc", "largest first"]], words.get("order") ?? "", (value) => put({ order: value })),
    text("File name has", "search", { type: "search" }),
  ];
  const given = words.getAll("factor");
  for (const [factor, values] of Object.entries(choice.info.factors)) {
    const now = given.find((each) => each.startsWith(`${factor}=`))?.slice(factor.length + 1) ?? "";
    controls.push(select(factor, `factor-${factor}`, [["", "any"], ...values.map((each) => [each, each])], now, (value) =>
      put({ factor: [...given.filter((each) => !each.startsWith(`${factor}=`)), ...(value ? [`${factor}=${value}`] : [])] })));
  }
  for (const each of given.filter((pair) => !(pair.slice(0, pair.indexOf("=")) in choice.info.factors)))
    controls.push(el("button", { type: "button", onclick: () => put({ factor: given.filter((other) => other !== each) }) }, `${each} ×`));
  if (words.get("cluster")) controls.push(el("button", { type: "button", onclick: () => put({ cluster: "" }) }, `cluster ${words.get("cluster")} ×`));
  if (words.get("below")) controls.push(el("button", { type: "button", onclick: () => put({ below: "" }) }, `confidence below ${words.get("below")} ×`));
  controls.push(el("button", { type: "button", onclick: () => put({ below: "", agree: "", a_is: "", b_is: "", c_is: "", label: "", prediction: "", low: "", high: "", sort: "", order: "", search: "", factor: "", cluster: "" }) }, "Reset"));
  return el("form", { class: "bar filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() }, ...controls.filter((each) => each));
}

Address.begin(async (current) => {
  document.title = "Samples – qubastore";
  const choice = await Choice.read("abc", current);
  if (!choice || !current()) return;
  const page = Math.max(0, Number(Address.words().get("page") ?? 0) | 0);
  const words = selected(choice);
  const focused = document.activeElement?.name;
  byId("message").textContent = "";
  const bar = filters(choice);
  const old = byId("content").querySelector("form.filters");
  if (old) old.replaceWith(bar);
  else byId("content").replaceChildren(bar);
  if (focused) bar.elements[focused]?.focus();
  let found;
  try {
    found = await ask("samples", [...words, ["limit", PER_PAGE], ["offset", page * PER_PAGE]]);
  } catch (error) {
    if (!current()) return;
    showError(error);
    byId("content").prepend(bar);
    return;
  }
  if (!current()) return;
  choice.absent = found.absent;
  const pages = Math.max(1, Math.ceil(found.n / PER_PAGE));
  const turn = (to, text) => el("button", { type: "button", disabled: to < 0 || to >= pages, onclick: () => Address.set({ page: to || "" }) }, text);
  const total = choice.runs[0].n_outputs;
  byId("content").replaceChildren(bar,
    el("div", { class: "bar" },
      el("strong", { id: "count", role: "status" }, `${plural(found.n, "image")}`),
      el("span", { class: "hint" }, `of ${count(total)} (${percent(found.n / Math.max(1, total))})`),
      sqlLink(found.sql),
      pages > 1 ? el("span", { class: "turns" }, turn(page - 1, "‹ Previous"), ` page ${page + 1} of ${count(pages)} `, turn(page + 1, "Next ›")) : null),
    found.n ? Grid.make(found.rows, choice, words, { at: page * PER_PAGE }) : el("p", {}, "No image is left. Reset the filters, or choose other models."));
});
