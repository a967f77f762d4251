// Draws the view that the address selects.
"use strict";

function draw() {
  const { state } = State;
  const pool = State.pool();
  const ranking = Ranking.rank(pool, state);
  Ranking.intervals(ranking, state.factors);
  ranking.pool = pool;
  ranking.before = state.faultless ? Ranking.rank(State.pool(false), state).rows : null;
  pool.ranked = ranking.source;
  Table.sync();
  for (const view of ["ranking", "explore", "model", "images"]) {
    byId(view).hidden = state.view !== view;
    const button = document.querySelector(`nav [data-view="${view}"]`);
    if (state.view === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  document.title = `${state.view === "model" && state.model ? state.model : state.view} – qubastore report`;
  window.drawn = Promise.resolve({ ranking: Table, explore: Explore, model: Model, images: Gallery }[state.view].draw(ranking));
  window.lastRanking = ranking;
}

function begin() {
  const measured = DATA.rows.filter((row) => row.source === "measured").length;
  byId("about").textContent = `${DATA.rows.length} rows, ${measured} measured · suite ${DATA.suite} · ${DATA.made.slice(0, 10)} · qubastore ${DATA.version}`;
  Table.controls();
  Explore.controls();
  Model.controls();
  document.querySelector('nav [data-view="images"]').hidden = !DATA.gallery;
  document.querySelectorAll("nav [data-view]").forEach((button) => button.addEventListener("click", () => {
    State.set({ view: button.dataset.view }, { step: true });
    byId("main").focus();
  }));
  if (matchMedia("(max-width: 820px)").matches) byId("controls").open = false;
  const redraw = () => { State.read(); draw(); };
  addEventListener("popstate", redraw);
  addEventListener("hashchange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  redraw();
}

begin();
