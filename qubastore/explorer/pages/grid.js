// A grid of thumbnails that the arrow keys walk through; each opens the page of its image.
"use strict";

const Grid = (() => {
  const AT_ONCE = 50;

  /** The tiles of images. `words` are the parameters of their pages; `at` is the place of the first in its selection. */
  function make(rows, choice, words, { at = null, note = () => null, label = "Images" } = {}) {
    const list = el("ul", { class: "grid", "aria-label": label });
    rows.forEach((row, place) => {
      const here = new URLSearchParams(words);
      here.set("dataset", row.dataset_id);
      here.set("id", row.sample_id);
      if (at === null) here.delete("at");
      else here.set("at", at + place);
      list.append(el("li", {}, tile(row, choice, `/sample?${here}`, note(row), place === 0)));
    });
    list.addEventListener("keydown", (event) => walk(event, list));
    if (!choice.absent) for (let first = 0; first < rows.length; first += AT_ONCE) fill(list, rows.slice(first, first + AT_ONCE));
    return list;
  }

  function tile(row, choice, href, note, first) {
    const label = className(choice.info, row.label);
    const link = el("a", { class: "tile", href, tabindex: first ? "0" : "-1" },
      choice.absent ? picture(row.dataset_id, row.sample_id, `${label}: ${row.key}`, choice.absent)
        : el("img", { alt: `${label}: ${row.key}`, decoding: "async", width: "128", height: "128", "data-sample": row.sample_id }),
      el("span", { class: "label" }, row.label === null ? row.key : label));
    row.answers.forEach((answer, i) => link.append(mark(answer, choice, row.answers.length > 1 ? "ABC"[i] : "")));
    if (note) link.append(el("span", { class: "hint" }, note));
    return link;
  }

  /** Show the thumbnails of some tiles, which one answer has; those that it lacks are asked for one by one. */
  async function fill(list, rows) {
    const dataset = rows[0].dataset_id;
    const found = await fetch(`/thumbnails/${dataset}?ids=${rows.map((row) => row.sample_id)}`)
      .then((answer) => (answer.ok ? answer.json() : {})).catch(() => ({}));
    for (const row of rows) {
      const image = list.querySelector(`img[data-sample="${row.sample_id}"]`);
      const made = found[row.sample_id];
      if (made) image.src = `data:image/webp;base64,${made}`;
      else image.replaceWith(picture(dataset, row.sample_id, image.alt));
    }
  }

  /** Right or wrong, what was answered, and how sure; in words for those who do not see colours. */
  function mark(answer, choice, letter) {
    const verdict = answer.is_right === null ? ["", "answer"] : answer.is_right ? ["✓", "right"] : ["✗", "wrong"];
    const what = answer.is_right ? "" : className(choice.info, answer.prediction);
    return el("span", { class: `answer ${verdict[1]}` },
      el("span", { "aria-hidden": "true" }, `${letter} ${verdict[0]} `), el("span", { class: "unseen" }, `${letter} ${verdict[1]} `),
      `${what} ${answer.confidence === null ? "" : answer.confidence.toFixed(2)}`);
  }

  /** A thumbnail, or an empty frame where the image is not at hand; the message says why. */
  function picture(dataset, sample, alt, absent) {
    const frame = () => el("span", { class: "absent", role: "img", "aria-label": alt }, "no image");
    if (absent) {
      byId("message").textContent = absent;
      return frame();
    }
    const source = `/image/${dataset}/${sample}`;
    const image = el("img", { src: source, alt, loading: "lazy", decoding: "async", width: "128", height: "128" });
    image.addEventListener("error", async () => {
      image.replaceWith(frame());
      const reason = await fetch(source).then((answer) => answer.json()).catch(() => null);
      if (reason) byId("message").textContent = `${reason.what}${reason.hint ? `. Try: ${reason.hint}` : ""}`;
    });
    return image;
  }

  function walk(event, list) {
    const tiles = [...list.querySelectorAll("a.tile")];
    const now = tiles.indexOf(document.activeElement);
    if (now < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const across = tiles.filter((each) => each.offsetTop === tiles[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -now, End: tiles.length - 1 - now };
    const next = tiles[now + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    tiles[now].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  return { make, mark, picture };
})();
