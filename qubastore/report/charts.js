// Charts with Vega-Lite, which is loaded when the first chart is needed: most readers only rank.
"use strict";

const Charts = (() => {
  let ready = null;

  function load() {
    ready ??= new Promise((resolve) => {
      // Vega is at the end of the file, after what readers see first.
      if (document.readyState === "loading") addEventListener("DOMContentLoaded", resolve);
      else resolve();
    }).then(() => new Promise((resolve) => {
      const script = document.createElement("script");
      script.type = "module";
      const vega = document.getElementById("vega");
      if (vega.dataset.from) {
        script.src = vega.dataset.from;
        script.onload = resolve;
      } else {
        window.vegaLoaded = resolve;
        script.nonce = vega.nonce;
        script.textContent = `${vega.textContent}\nwindow.vegaLoaded();`;
      }
      document.body.append(script);
    }));
    return ready;
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  const FONT = "system-ui, sans-serif";
  // The Okabe-Ito palette, which is safe for colour-blind readers.
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a"];
  const DARK = ["#56b4e9", "#e69f00", "#2cc295", "#e09cc4", "#f0e442", "#5d8fd6", "#a5a5a5"];

  function config() {
    const ink = colour("ink");
    const line = colour("line");
    const palette = matchMedia("(prefers-color-scheme: dark)").matches ? DARK : LIGHT;
    const text = { labelColor: ink, titleColor: ink, labelFont: FONT, titleFont: FONT };
    return {
      background: "transparent",
      font: FONT,
      view: { stroke: line },
      axis: { ...text, gridColor: line, domainColor: line, tickColor: line, labelFlush: false, labelFontSize: 12, titleFontSize: 12 },
      legend: { ...text, labelFontSize: 12, titleFontSize: 12, symbolSize: 80 },
      title: { color: ink, fontSize: 13 },
      header: text,
      range: { category: palette },
      mark: { color: palette[0] },
      text: { color: ink },
    };
  }

  /** Draw into an element and return Vega's view. `spec` is Vega-Lite without a schema; the width is the container's. */
  async function draw(element, spec, title) {
    await load();
    const made = await vegaEmbed(element, { width: "container", autosize: { type: "fit-x", contains: "padding" }, ...spec }, {
      renderer: "svg", config: config(), actions: false, tooltip: { theme: "custom" },
    });
    // Set after drawing, because Vega sets its own label.
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", title);
    return made.view;
  }

  return { draw, colour };
})();
