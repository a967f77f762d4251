// The ranking as in sql/macros/quba_contributions.sql and quba_ranking.sql: the same sums in the same order.
"use strict";

const Ranking = (() => {
  const byName = DATA.dimensions.map((d, i) => ({ ...d, i, sign: d.better === "up" ? 1 : -1 }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));

  /** Final weights, in the order of DATA.dimensions, from factors by name. */
  function weights(factors) {
    return DATA.dimensions.map((d) => d.weight * (factors[d.name] ?? 1));
  }

  function byText(a, b) {
    return a < b ? -1 : a > b ? 1 : 0;
  }

  /** Trimmed mean and population standard deviation: floor(n / 10) values are dropped at each end. */
  function trimmed(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const cut = Math.floor(sorted.length / 10);
    const kept = sorted.slice(cut, sorted.length - cut);
    let sum = 0;
    let mean = 0;
    let squares = 0;
    kept.forEach((value, k) => {
      sum += value;
      const gap = value - mean;
      mean += gap / (k + 1);
      squares += gap * (value - mean);
    });
    return { mean: sum / kept.length, std: Math.sqrt(squares / kept.length) };
  }

  /** Whether a row belongs to a source: measured, published, attached, all, a source's name, or a comma-separated list. */
  function isOf(row, source) {
    return source === "all" || source.split(",").some((name) => name === row.origin || name === row.source);
  }

  /** The group a row is normalised in without constants: each published source alone, as its protocol differs. */
  function normalisationGroup(row) {
    return row.origin === "published" ? row.source : "measured";
  }

  /**
   * Rank rows, best first.
   * options: factors, source (auto, or as in isOf), normalize (auto, published, store), partial.
   * Returns { rows: [{ row, rank, quba, coverage }], scales: normalisationGroup -> [{mean, std}], source, leftOut, problem }.
   */
  function rank(pool, options) {
    const w = weights(options.factors);
    const total = byName.reduce((sum, d) => sum + w[d.i], 0);
    if (!total) return { rows: [], scales: {}, leftOut: 0, problem: "All weights are zero." };
    if (!Number.isFinite(total)) return { rows: [], scales: {}, leftOut: 0, problem: "The weights add up to infinity." };
    const needed = byName.filter((d) => w[d.i] > 0);
    const isWhole = (row) => needed.every((d) => row.values[d.i] !== null);
    const mayRank = (row) => isWhole(row) || (options.partial && needed.some((d) => row.values[d.i] !== null));
    let source = options.source;
    if (source === "auto") {
      const origins = new Set(pool.filter(mayRank).map((row) => row.origin));
      source = ["measured", "published", "attached"].find((origin) => origins.has(origin)) ?? "published";
    }
    const ofSource = pool.filter((row) => isOf(row, source));
    const ranked = ofSource.filter(mayRank);
    if (!ranked.length) {
      const problem = ofSource.length ? "No model has every weighted dimension." : "No model is left.";
      return { rows: [], scales: {}, source, leftOut: ofSource.length, problem };
    }
    const published = options.normalize === "published" || (options.normalize === "auto" && DATA.publishedConstants);
    const scales = {};
    for (const name of new Set(ranked.map(normalisationGroup))) {
      const mine = ranked.filter((row) => normalisationGroup(row) === name);
      scales[name] = DATA.dimensions.map((d, i) => {
        if (published) return { mean: d.mean, std: d.std };
        const there = mine.map((row) => row.values[i]).filter((value) => value !== null);
        return there.length ? trimmed(there) : { mean: 0, std: 0 };
      });
      if (!published && mine.length < 2) {
        return { rows: [], scales: {}, leftOut: 0, problem: "Store normalisation needs at least two models." };
      }
    }
    const scored = ranked.map((row) => {
      const { quba, weight } = score(row.values, w, scales[normalisationGroup(row)]);
      return { row, quba, coverage: weight / total };
    });
    scored.sort((a, b) => b.quba - a.quba || byText(a.row.model, b.row.model) || byText(a.row.source, b.row.source));
    scored.forEach((each, n) => {
      each.rank = n && scored[n - 1].quba === each.quba ? scored[n - 1].rank : n + 1;
    });
    return { rows: scored, scales, source, leftOut: ofSource.length - ranked.length, problem: null };
  }

  /** sum(w * sign * (x - mean) / std) / sum(w), over the dimensions with a value, ordered by name. */
  function score(values, w, scale) {
    let sum = 0;
    let weight = 0;
    for (const d of byName) {
      const value = values[d.i];
      // With a weight of 0 a dimension is ignored, even if its figure is undefined.
      if (value === null || w[d.i] === 0) continue;
      const { mean, std } = scale[d.i];
      sum += w[d.i] * d.sign * (std > 0 ? (value - mean) / std : 0);
      weight += w[d.i];
    }
    return { quba: sum / weight, weight };
  }

  /** The resamples of a row, decoded once: a Float32Array per dimension, or null. */
  function resamples(row) {
    row.unpacked ??= (row.resamples ?? []).map((text) => {
      if (text === null) return null;
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      return new Float32Array(bytes.buffer);
    });
    return row.unpacked;
  }

  function quantile(sorted, share) {
    const at = share * (sorted.length - 1);
    const low = Math.floor(at);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
  }

  /** 95 % intervals of scores and ranks: rows that have resamples get `interval` and `ranks`. */
  function intervals(ranking, factors) {
    const w = weights(factors);
    const sure = ranking.rows.filter((each) => each.row.resamples);
    if (!sure.length) return;
    const n = DATA.resamples;
    const drawn = sure.map(({ row }) => {
      const parts = resamples(row);
      const scale = ranking.scales[normalisationGroup(row)];
      const scores = new Float64Array(n);
      const values = new Array(parts.length);
      for (let r = 0; r < n; r++) {
        for (let i = 0; i < parts.length; i++) values[i] = parts[i] === null ? null : parts[i][r];
        scores[r] = score(values, w, scale).quba;
      }
      return scores;
    });
    const whole = [...Array(n).keys()].filter((r) => drawn.every((scores) => !Number.isNaN(scores[r])));
    if (!whole.length) return;
    const constant = ranking.rows.filter((each) => !each.row.resamples).map((each) => each.quba);
    const places = sure.map(() => []);
    for (const r of whole) {
      const all = [...constant, ...drawn.map((scores) => scores[r])].sort((a, b) => b - a);
      const first = new Map();
      all.forEach((quba, k) => first.has(quba) || first.set(quba, k + 1));
      drawn.forEach((scores, k) => places[k].push(first.get(scores[r])));
    }
    sure.forEach((each, k) => {
      const scores = whole.map((r) => drawn[k][r]).sort((a, b) => a - b);
      each.interval = [quantile(scores, 0.025), quantile(scores, 0.975)];
      const ranks = places[k].sort((a, b) => a - b);
      const at = (share) => ranks[Math.max(0, Math.ceil(share * ranks.length) - 1)];
      each.ranks = [at(0.025), at(0.975)];
    });
  }

  return { rank, isOf, intervals, weights, score, byText };
})();
