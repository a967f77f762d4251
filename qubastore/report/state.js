// The state of the page, stored in the address, so that a view can be sent as a link.
"use strict";

const PRESETS = {
  balanced: {},
  "safety first": { adversarial_robustness: 2, corruption_robustness: 2, ood_robustness: 2, calibration_error: 2, class_balance: 2, parameters: 0.5 },
  "small devices": { parameters: 4 },
  "like a human": { shape_bias: 3, object_focus: 3, ood_robustness: 3, parameters: 0 },
};

const State = (() => {
  const SOURCES = ["auto", "all", ...new Set(DATA.rows.flatMap((row) => [row.origin, row.source]))];
  const WORDS = ["architecture", "pretraining", "paradigm"];
  const fresh = () => ({
    view: "ranking", factors: {}, source: "auto", normalize: "auto", partial: false, search: "", min: null, max: null,
    architecture: [], pretraining: [], paradigm: [], faultless: DATA.withoutKnownFaults, sort: "quba", x: "parameters", y: "accuracy", model: "", pins: [],
  });
  const state = fresh();
  let later = 0;

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    Object.assign(state, fresh());
    for (const [key, text] of given) {
      if (key.startsWith("w.")) {
        const factor = text === "" ? NaN : Number(text);
        const known = DATA.dimensions.some((d) => d.name === key.slice(2));
        if (known && Number.isFinite(factor) && factor >= 0) state.factors[key.slice(2)] = factor;
      } else if (WORDS.includes(key) || key === "pins") state[key] = given.getAll(key);
      else if (key === "min" || key === "max") state[key] = text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
      else if (key === "partial" || key === "faultless") state[key] = text === "1";
      else if (key === "view") state.view = ["ranking", "explore", "model", ...(DATA.gallery ? ["images"] : [])].includes(text) ? text : "ranking";
      else if (key === "source") state.source = text.split(",").every((name) => SOURCES.includes(name)) ? text : "auto";
      else if (key === "normalize") state.normalize = ["auto", "published", "store"].includes(text) ? text : "auto";
      else if (key === "x" || key === "y") state[key] = DATA.dimensions.some((d) => d.name === text) ? text : state[key];
      else if (key === "sort") state.sort = ["quba", "model", ...DATA.dimensions.map((d) => d.name)].includes(text) ? text : "quba";
      else if (["search", "model"].includes(key) && typeof state[key] === "string") state[key] = text;
    }
    if (!DATA.publishedConstants && state.normalize === "published") state.normalize = "auto";
  }

  function text() {
    const defaults = fresh();
    const given = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) {
      if (key === "factors") {
        for (const [name, factor] of Object.entries(value)) if (factor !== 1) given.set(`w.${name}`, factor);
      } else if (Array.isArray(value)) value.forEach((item) => given.append(key, item));
      else if (typeof value === "boolean") value !== defaults[key] && given.set(key, value ? "1" : "0");
      else if (value !== defaults[key]) given.set(key, value);
    }
    return given.toString();
  }

  /** Change the state and redraw. With `step`, the change is an entry in the browser's history. */
  function set(change, { step = false } = {}) {
    Object.assign(state, change);
    clearTimeout(later);
    if (step) history.pushState(null, "", `#${text()}`);
    // Browsers limit how often the address may change; dragging a slider would exceed that.
    else later = setTimeout(() => history.replaceState(null, "", `#${text()}`), 120);
    draw();
  }

  /** A link to the current view. */
  function link() {
    return `${location.href.split("#")[0]}#${text()}`;
  }

  const cleaned = new Map();

  /** All rows; with `faultless`, figures with a known fault are treated as missing. */
  function rows(faultless = state.faultless) {
    if (!faultless) return DATA.rows;
    return DATA.rows.map((row) => {
      if (!Object.keys(row.faults).length) return row;
      if (!cleaned.has(row)) cleaned.set(row, { ...row, values: row.values.map((value, i) => (DATA.dimensions[i].name in row.faults ? null : value)) });
      return cleaned.get(row);
    });
  }

  /** The rows that pass the filters, as with `rank --where`. */
  function pool(faultless = state.faultless) {
    const at = DATA.dimensions.findIndex((d) => d.name === "parameters");
    return rows(faultless).filter((row) =>
      WORDS.every((word) => !state[word].length || state[word].includes(row[word] ?? "")) &&
      (state.min === null || (row.values[at] !== null && row.values[at] >= state.min)) &&
      (state.max === null || (row.values[at] !== null && row.values[at] <= state.max)));
  }

  function quoted(value) {
    return `'${value.replaceAll("'", "''")}'`;
  }

  /** The `qubastore rank` command that gives this ranking. */
  function command() {
    const conditions = DATA.where ? [`(${DATA.where}\n)`] : [];
    for (const word of WORDS) {
      if (state[word].length) conditions.push(`coalesce(${word}, '') in (${state[word].map(quoted).join(", ")})`);
    }
    if (state.min !== null) conditions.push(`parameters_m >= ${state.min}`);
    if (state.max !== null) conditions.push(`parameters_m <= ${state.max}`);
    const words = ["qubastore rank"];
    for (const [name, factor] of Object.entries(state.factors)) if (factor !== 1) words.push(`--weight ${name}=${factor}`);
    if (state.source !== "auto") words.push(`--source ${state.source}`);
    if (state.normalize !== "auto") words.push(`--normalize ${state.normalize}`);
    if (state.partial) words.push("--partial");
    if (state.faultless) words.push("--without-known-faults");
    if (DATA.suite !== "quba") words.push(`--suite ${DATA.suite}`);
    if (conditions.length === 1 && DATA.where) words.push(`--where ${shell(DATA.where)}`);
    else if (conditions.length) words.push(`--where ${shell(conditions.join(" and "))}`);
    return words.join(" ");
  }

  function shell(value) {
    return `'${value.replaceAll("'", "'\\''")}'`;
  }

  return { state, read, set, rows, pool, command, link, shell, SOURCES, WORDS };
})();
