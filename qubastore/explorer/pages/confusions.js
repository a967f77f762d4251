// Class by class: what is taken for what, for one model or as the difference of two.
"use strict";

const LISTED = 30;

/** The matrix on a canvas: wheel or buttons zoom, dragging moves, arrow keys walk, Enter or a click opens images. */
class Matrix {
  constructor(choice, found, open) {
    Object.assign(this, { choice, open, order: found.order, zoom: 1, x: 0, y: 0, cell: null, difference: choice.runs.length > 1 });
    this.place = new Map(found.order.map((each, i) => [each, i]));
    this.values = new Map(found.cells.map(([label, prediction, n, other = 0]) => [this.key(this.place.get(label), this.place.get(prediction)), [n, other]]));
    this.most = Math.max(1, ...found.cells.filter((each) => this.difference || each[0] !== each[1]).map((each) => Math.abs(this.difference ? each[2] - each[3] : each[2])));
    this.canvas = el("canvas", { tabindex: "0", role: "application", "aria-label": "Confusion matrix: rows are labels, columns answers. Arrow keys move, Enter opens the images, plus and minus zoom." });
    this.reading = el("p", { class: "reading", role: "status", "aria-live": "polite" });
    const zoom = (factor, text, label) => el("button", { type: "button", "aria-label": label, onclick: () => this.scale(factor, 0.5, 0.5) }, text);
    this.element = el("div", { class: "matrix" }, el("div", { class: "bar" }, zoom(2, "+", "Zoom in"), zoom(0.5, "−", "Zoom out"),
      el("span", { class: "hint" }, "rows: label, columns: answer; similar classes side by side")), this.canvas, this.reading);
    this.listen();
  }

  key(row, column) { return row * this.order.length + column; }
  get shown() { return this.order.length / this.zoom; }

  draw() {
    const side = Math.max(200, Math.round(this.canvas.clientWidth));
    const dots = devicePixelRatio || 1;
    this.canvas.width = this.canvas.height = side * dots;
    const context = this.canvas.getContext("2d");
    const step = this.canvas.width / this.shown;
    const size = step > 4 ? step - 1 : Math.max(step, 3 * dots);
    const right = Charts.colour("best"), more = Charts.colour("warn"), fewer = Charts.colour("accent");
    context.fillStyle = Charts.colour("paper");
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (const [key, [n, other]] of this.values) {
      const row = Math.floor(key / this.order.length), column = key % this.order.length;
      const left = (column - this.x) * step, top = (row - this.y) * step;
      if (left < -step || top < -step || left > this.canvas.width || top > this.canvas.height) continue;
      const value = this.difference ? n - other : n;
      if (!value) continue;
      const diagonal = row === column;
      context.globalAlpha = this.difference || !diagonal ? 0.25 + 0.75 * Math.min(1, Math.abs(value) / this.most) : 0.35;
      context.fillStyle = this.difference ? (value > 0 === diagonal ? right : diagonal || value < 0 ? fewer : more) : diagonal ? right : more;
      context.fillRect(left, top, size, size);
      if (diagonal && step > 28 * dots) {
        context.globalAlpha = 1;
        context.fillStyle = Charts.colour("ink");
        context.font = `${11 * dots}px system-ui, sans-serif`;
        context.fillText(className(this.choice.info, this.order[row]), left + 3 * dots, top + step / 2, step - 6 * dots);
      }
    }
    context.globalAlpha = 1;
    if (this.cell) {
      context.strokeStyle = Charts.colour("ink");
      context.lineWidth = 2 * dots;
      context.strokeRect((this.cell[1] - this.x) * step, (this.cell[0] - this.y) * step, Math.max(size, 6), Math.max(size, 6));
    }
  }

  scale(factor, atX, atY) {
    const before = this.shown;
    this.zoom = Math.min(Math.max(1, this.order.length / 8), Math.max(1, this.zoom * factor));
    this.x += (before - this.shown) * atX;
    this.y += (before - this.shown) * atY;
    this.move(0, 0);
  }

  move(x, y) {
    const last = this.order.length - this.shown;
    this.x = Math.min(last, Math.max(0, this.x + x));
    this.y = Math.min(last, Math.max(0, this.y + y));
    this.draw();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const clip = (value) => Math.min(this.order.length - 1, Math.max(0, Math.floor(value)));
    return [clip(this.y + ((event.clientY - box.top) / box.height) * this.shown), clip(this.x + ((event.clientX - box.left) / box.width) * this.shown)];
  }

  select(cell) {
    this.cell = cell;
    const [n, other] = this.values.get(this.key(...cell)) ?? [0, 0];
    const [label, answer] = cell.map((each) => className(this.choice.info, this.order[each]));
    const counts = this.difference ? `${count(n)} by A, ${count(other)} by B` : plural(n, "image");
    this.reading.textContent = `${label} → ${label === answer ? "right" : answer}: ${counts}`;
    this.draw();
  }

  follow() {
    if (this.cell[0] < this.y) this.y = this.cell[0];
    if (this.cell[1] < this.x) this.x = this.cell[1];
    if (this.cell[0] >= this.y + this.shown) this.y = this.cell[0] + 1 - this.shown;
    if (this.cell[1] >= this.x + this.shown) this.x = this.cell[1] + 1 - this.shown;
    this.move(0, 0);
  }

  enter() {
    const counts = this.cell && this.values.get(this.key(...this.cell));
    if (counts) this.open(this.order[this.cell[0]], this.order[this.cell[1]], counts[0]);
  }

  listen() {
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY, this.x, this.y, false]; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!from) return this.select(this.at(event));
      const side = this.canvas.getBoundingClientRect().width;
      const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
      if (Math.abs(dx) + Math.abs(dy) > 4) from[4] = true;
      if (from[4]) { this.x = from[2] - (dx / side) * this.shown; this.y = from[3] - (dy / side) * this.shown; this.move(0, 0); }
      return undefined;
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (from && !from[4]) { this.select(this.at(event)); this.enter(); }
      from = null;
    });
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.canvas.getBoundingClientRect();
      this.scale(event.deltaY < 0 ? 1.25 : 0.8, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
      if (step) {
        const clip = (value) => Math.min(this.order.length - 1, Math.max(0, value));
        const [row, column] = this.cell ?? [-1, 0];
        this.select(this.cell ? [clip(row + step[0]), clip(column + step[1])] : [0, 0]);
        this.follow();
      } else if (event.key === "Enter") this.enter();
      else if (event.key === "+" || event.key === "-") this.scale(event.key === "+" ? 2 : 0.5, 0.5, 0.5);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }
}

function lists(choice, found, link) {
  const two = choice.runs.length > 1;
  const name = (each) => className(choice.info, each);
  const pairs = found.cells.filter(([label, prediction]) => label !== prediction)
    .sort((x, y) => (two ? Math.abs(y[2] - y[3]) - Math.abs(x[2] - x[3]) : y[2] - x[2]) || x[0] - y[0] || x[1] - y[1]).slice(0, LISTED);
  const classes = new Map();
  for (const [label, prediction, n, other = 0] of found.cells) {
    const sums = classes.get(label) ?? [0, 0, 0, 0];
    sums[0] += n; sums[1] += label === prediction ? n : 0; sums[2] += other; sums[3] += label === prediction ? other : 0;
    classes.set(label, sums);
  }
  const share = (right, n) => (n ? right / n : null);
  const score = ([n, right, m, also]) => (two ? share(right, n) - share(also, m) : share(right, n));
  const worst = [...classes].filter(([, sums]) => sums[0] && (!two || score(sums) < 0)).sort((x, y) => score(x[1]) - score(y[1]) || y[1][0] - x[1][0] || x[0] - y[0]).slice(0, LISTED);
  const both = two ? ["A", "B"] : ["Images"];
  return [
    el("section", {}, el("h3", {}, two ? "Pairs that differ most" : "Most confused pairs"),
      table(["Label", "Answer", ...both], pairs.map(([label, prediction, n, other]) => [name(label), name(prediction), link(label, prediction, n), ...(two ? [count(other)] : [])]), { text: [0, 1], caption: "Confused pairs" })),
    el("section", {}, el("h3", {}, two ? "Classes where A is worse than B" : "Worst classes"),
      table(["Class", "Images", ...(two ? ["Accuracy of A", "of B"] : ["Accuracy"])], worst.map(([label, [n, right, m, also]]) =>
        [name(label), link(label, "", n), percent(share(right, n)), ...(two ? [percent(share(also, m))] : [])]), { text: [0], caption: "Worst classes" })),
  ];
}

const two = (choice) => (choice.runs.length > 1 ? "Images of A minus images of B, over those that both answered" : `${plural(choice.runs[0].n_outputs, "answer")}, accuracy ${percent(choice.runs[0].accuracy)}`);

Address.begin(async (current) => {
  document.title = "Confusions – qubastore";
  const choice = await Choice.read("ab", current);
  if (!choice || !current()) return;
  const words = selected(choice);
  const found = await ask("confusions", words);
  if (!current()) return;
  // A cell that only B has is opened with the models exchanged: the filter is on the answer of the first.
  const where = (label, prediction, n) => {
    const turned = choice.runs.length > 1 && !n ? { a: words.get("b"), b: words.get("a") } : {};
    return `/samples?${Address.changed({ label, prediction, ...turned }, new URLSearchParams(words))}`;
  };
  const matrix = new Matrix(choice, found, (label, prediction, n) => { location.href = where(label, prediction, n); });
  const link = (label, prediction, n) => el("a", { href: where(label, prediction, n) }, count(n));
  byId("content").replaceChildren(el("div", { class: "bar" }, el("span", {}, two(choice)), sqlLink(found.sql)),
    el("div", { class: "columns confusions" }, matrix.element, el("div", {}, ...lists(choice, found, link))));
  matrix.draw();
  window.matrix = matrix;
});
