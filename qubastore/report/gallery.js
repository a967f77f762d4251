// The images of a report that was made with some.
"use strict";

const Gallery = (() => {
  function draw() {
    if (byId("pictures").childElementCount) return;
    byId("licence").textContent = DATA.gallery.licence;
    byId("pictures").replaceChildren(...DATA.gallery.parts.flatMap((part) => [
      el("h3", {}, part.title), el("p", { class: "hint" }, part.about),
      el("ul", { class: "gallery", "aria-label": part.title }, ...part.images.map(picture))]));
  }

  function picture(image) {
    const answers = image.answers.map((answer) => {
      const sure = answer.confidence === null ? "" : ` ${answer.confidence.toFixed(2)}`;
      const who = image.answers.length > 1 ? `${answer.model}: ` : "";
      return el("span", { class: answer.right ? "right" : "wrong" }, `${answer.right ? "✓" : "✗"} ${who}${answer.answer}${sure}`);
    });
    return el("li", { title: image.key }, el("img", { src: image.image, alt: `${image.label ?? "no label"}: ${image.key}`, width: "128", height: "128" }), el("b", {}, image.label ?? image.key), ...answers);
  }

  return { draw };
})();
