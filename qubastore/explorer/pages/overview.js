// The first page: what the store has, and the ingests at work.
"use strict";

const EVERY = 5000;

function datasets(overview) {
  if (!overview.datasets.length) return el("p", {}, "No complete run yet: qubastore ingest adds some. The published table is under Ranking.");
  return table(["Dataset", "Images", "Classes", "Models", "Runs", "Conditions"], overview.datasets.map((each) => {
    const conditions = each.conditions.slice(0, 4).join(", ") + (each.conditions.length > 4 ? `, and ${each.conditions.length - 4} more` : "");
    return [el("a", { href: `/samples?dataset=${each.dataset_id}` }, each.name), count(each.n_samples), count(each.n_classes), count(each.n_models), count(each.n_runs), conditions];
  }), { text: [0, 5], caption: "Datasets" });
}

function progress(runs) {
  if (!runs.length) return el("p", { class: "hint" }, "No ingest is at work, and every run is complete.");
  const rows = runs.map((run) => {
    const state = run.active ? (run.images_per_second ? `${run.images_per_second.toFixed(1)} images/s` : "active") : "not active: the same qubastore ingest resumes it";
    const bar = el("progress", { max: run.n_samples, value: run.n_done, "aria-label": `${run.n_done} of ${run.n_samples} images` });
    return [run.model, run.dataset, run.condition, bar, `${count(run.n_done)} / ${count(run.n_samples)}`, state];
  });
  return table(["Model", "Dataset", "Condition", "Progress", "Images", "State"], rows, { text: [0, 1, 2, 3, 5], caption: "Progress" });
}

Address.begin(async (current) => {
  document.title = "Store – qubastore";
  const overview = await ask("overview");
  if (!current()) return;
  byId("about").textContent = overview.store;
  const place = el("div", {});
  byId("content").replaceChildren(
    el("h2", {}, `${plural(overview.models, "model")}, ${plural(overview.runs, "complete run")}`), datasets(overview),
    el("h3", {}, "Progress"), place);
  const refresh = async () => {
    const runs = await ask("progress");
    if (current()) place.replaceChildren(progress(runs));
  };
  await refresh();
  clearInterval(window.refreshing);
  window.refreshing = setInterval(() => {
    if (!document.hidden) refresh().catch(() => {});
  }, EVERY);
});
