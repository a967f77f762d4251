// One image: what every model answers, its variants, its nearest neighbours.
"use strict";

/** The images before and after this one in the selection that it was opened from. */
async function turns(choice, words) {
  const at = words.get("at");
  if (at === null) return null;
  const place = Number(at) | 0;
  const first = Math.max(0, place - 1);
  const found = await ask("samples", [...words, ["limit", 3], ["offset", first]]);
  const link = (to, text, key) => {
    const row = found.rows[to - first];
    if (to < 0 || !row) return null;
    return el("a", { class: "button", "data-key": key, href: `/sample?${Address.changed({ id: row.sample_id, at: to }, new URLSearchParams(words))}` }, text);
  };
  const back = new URLSearchParams(Address.changed({ id: "", at: "", every: "", page: Math.floor(place / 200) || "" }, new URLSearchParams(words)));
  return el("div", { class: "bar" }, el("a", { class: "button", "data-key": "Escape", href: `/samples?${back}` }, "Back to the images"),
    link(place - 1, "‹ Previous", "ArrowLeft"), el("span", { class: "hint" }, `${count(place + 1)} of ${count(found.n)}`), link(place + 1, "Next ›", "ArrowRight"));
}

function facts(choice, found) {
  const rows = [["Dataset", found.dataset], ["File", found.key], ["In", found.root ? `${found.root}${found.path ? `/${found.path}` : ""}` : "memory"], ["Size", `${count(found.bytes)} bytes`]];
  for (const [name, labels] of Object.entries(found.labels)) {
    const text = labels.map((each) => className(choice.info, each.class) + (choice.info.titles ? ` (${each.name})` : "")).join(", ");
    rows.push([name === "dataset" ? "Label" : `Label, ${name}`, text || "none"]);
  }
  for (const [name, value] of Object.entries(found.factors)) rows.push([name, value]);
  return el("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function tops(choice, answer, right) {
  const rows = answer.top5.length ? answer.top5 : [{ class: answer.prediction, probability: answer.confidence }];
  return el("div", { class: "tops" }, ...rows.map((each) => {
    const bar = el("span", { class: right.has(each.class) ? "is-label" : null },
      el("span", {}, className(choice.info, each.class)), el("span", {}, each.probability === null ? "" : each.probability.toFixed(3)));
    bar.style.setProperty("--share", `${100 * (each.probability ?? 0)}%`);
    return bar;
  }));
}

/** A button that shows what the condition did to the image. */
function alteredLink(answer, found) {
  const button = el("button", { type: "button", "aria-label": `Show the input of ${answer.model} under ${answer.condition}` }, answer.condition);
  button.addEventListener("click", async () => {
    const place = byId("altered");
    const source = (part) => `/altered/${answer.run_id}/${found.sample_id}/${part}`;
    place.replaceChildren(el("p", { class: "hint" }, "Making it…"));
    const first = await fetch(source("input"));
    if (!first.ok) {
      const why = await first.json();
      place.replaceChildren(el("p", { role: "alert" }, why.what, why.hint ? `. Try: ${why.hint}` : ""));
      return;
    }
    const figure = (part, text) => el("figure", {}, el("img", { src: source(part), alt: text }), el("figcaption", {}, text));
    place.replaceChildren(el("h3", {}, `${answer.model} under ${answer.condition}`), el("div", { class: "three" },
      figure("input", "input, unaltered"), figure("altered", "input, altered"), figure("difference", "difference, amplified")));
    place.scrollIntoView({ block: "nearest" });
  });
  return button;
}

function answers(choice, found) {
  const right = new Set((found.labels.dataset ?? []).map((each) => each.class));
  const rows = found.answers.map((answer) => {
    const verdict = answer.is_right === null ? "–" : answer.is_right ? "✓ right" : "✗ wrong";
    const condition = answer.condition === "clean" || found.absent ? answer.condition : alteredLink(answer, found);
    return [answer.model, condition, el("span", { class: answer.is_right ? "right" : answer.is_right === false ? "wrong" : null }, verdict), tops(choice, answer, right)];
  });
  const more = found.n_runs > found.answers.length
    ? el("button", { type: "button", onclick: () => Address.set({ every: "1" }) }, `All ${count(found.n_runs)} runs`) : null;
  return el("div", {}, table(["Model", "Condition", "Answer", "Top 5"], rows, { text: [0, 1, 2, 3], caption: "Answers" }), more);
}

function variants(found) {
  if (!found.variants.length) return null;
  const list = el("ul", { class: "grid", "aria-label": "Variants" }, ...found.variants.map((each) => {
    const href = `/sample?${new URLSearchParams({ dataset: each.dataset_id, id: each.sample_id })}`;
    return el("li", {}, el("a", { class: "tile", href }, Grid.picture(each.dataset_id, each.sample_id, each.dataset), el("span", { class: "label" }, each.dataset),
      ...each.answers.map((answer) => el("span", { class: `answer ${answer.is_right === null ? "" : answer.is_right ? "right" : "wrong"}` }, `${answer.is_right === null ? "" : answer.is_right ? "✓" : "✗"} ${answer.model}: ${answer.prediction_name ?? "–"}`))));
  }));
  return el("section", {}, el("h3", {}, "The same image in other datasets"), list);
}

async function neighbours(choice, id, place) {
  const run = choice.runs[0];
  const title = el("h3", {}, `Nearest images to ${run.model}`);
  if (!run.features) {
    place.replaceChildren(title, el("p", { class: "hint" }, "This run kept no features: qubastore ingest --keep outputs,features keeps them."));
    return;
  }
  place.replaceChildren(title, el("p", { class: "hint" }, "Reading features…"));
  const near = await ask("neighbours", { a: run.run_id, id });
  place.replaceChildren(title, el("p", { class: "hint" }, "By cosine similarity of the features that enter the classifier."),
    Grid.make(near, choice, new URLSearchParams(choice.given), { note: (row) => `similarity ${row.similarity.toFixed(3)}`, label: "Nearest images" }));
}

Address.begin(async (current) => {
  const words = Address.words();
  const choice = await Choice.read("abc", current);
  if (!choice || !current()) return;
  const id = words.get("id") ?? "0";
  const given = selected(choice);
  const found = await ask("sample", given);
  if (!current()) return;
  document.title = `${found.key} – qubastore`;
  choice.absent = found.absent;
  byId("message").textContent = "";
  const image = found.absent ? Grid.picture(found.dataset_id, found.sample_id, found.key, found.absent)
    : el("img", { src: `/image/${found.dataset_id}/${found.sample_id}?size=full`, alt: found.key });
  const near = el("section", {});
  const way = await turns(choice, given);
  if (!current()) return;
  byId("content").replaceChildren(...[way, el("h2", {}, found.key),
    el("div", { class: "sample" }, el("figure", {}, image, facts(choice, found)), answers(choice, found)), el("section", { id: "altered", role: "status" }), variants(found), near].filter((each) => each));
  await neighbours(choice, id, near).catch((error) => near.append(el("p", {}, error.message)));
});

addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, .grid") || event.altKey || event.ctrlKey || event.metaKey) return;
  const link = document.querySelector(`a[data-key="${event.key}"]`);
  if (link) link.click();
});
