"""Collect the data of the report from a store: rows that can be ranked, with resamples and details of measured ones."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qubastore.analysis.coverage import collapsed, states_of_models
from qubastore.errors import UsageError, did_you_mean
from qubastore.lake.ducklake import is_one_of
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.known_differences import PROTOCOL, difference_causes, differences_of, known_faults
from qubastore.metrics.suites import BUILT_IN, QUBA, has_study_constants
from qubastore.published import SOURCE
from qubastore.ranking.notes import absent_dimensions
from qubastore.ranking.pool import Pool
from qubastore.ranking.request import PoolRequest
from qubastore.ranking.resampling import Resampler
from qubastore.runs.lookup import model_ids
from qubastore.statistics.options import BootstrapOptions
from qubastore.store import Store
from qubastore.version import __version__

WORST = 10
"""Number of classes that a model's page lists."""
RESAMPLES = 400
"""Number of resamples of the images of measured models: the first of those that a store keeps. They are enough for
intervals, and 14 kB per model."""

Json = dict[str, Any]

_PARTS = {
    "reliability": (
        "clean",
        "select model, dataset, low, high, n, accuracy, confidence from reliability_bins where {runs} order by all",
    ),
    "confidence": (
        "clean",
        "select model, dataset, low, high, n, n_correct from confidence_histogram where {runs} order by all",
    ),
    "classes": (
        "clean",
        "select model, dataset, class, class_name, n, accuracy from class_accuracy where {runs}"
        f" qualify row_number() over (partition by run_id order by accuracy, class) <= {WORST}"
        " order by model, accuracy, class",
    ),
    "imagenet_x": (
        "clean",
        "select model, factor, n, error_ratio, low, high from imagenet_x_error_ratio"
        " where {runs} and annotation = 'top' and metaclass = 'all' and error_ratio is not null"
        " order by all",
    ),
    "invariance": (
        "clean",
        "select model, dataset, transformation, amount, direction, accuracy, consistency from invariance"
        " where {runs} order by all",
    ),
    "corruptions": (
        "corrupted",
        "select model, corruption, severity, accuracy from corruption_accuracy where {runs} order by all",
    ),
    "shape": (
        "cue_conflict",
        "select model, category, shape_bias from shape_bias_by_category"
        " where {runs} and shape_bias is not null order by all",
    ),
}
"""Part of a model's page -> the role whose runs it shows, and the query, with `{runs}` for the condition on them."""
_PER_RUN = {
    "reliability": "reliability_bins",
    "confidence": "confidence_histogram",
    "classes": "class_accuracy",
    "corruptions": "corruption_accuracy",
    "shape": "shape_bias_by_category",
}
"""The parts whose view reads only per-run tables, and the view: they are queried in memory, which is faster."""
_PEOPLE = """
    select category, sum(n_shape) / nullif(sum(n_shape + n_texture), 0) as shape_bias
    from human_cues group by category order by category
"""
MAKE = {
    "reliability": "qubastore ingest --model MODEL --suite quba --data-root DIR",
    "corruptions": "qubastore ingest --model MODEL --suite quba --data-root DIR",
    "shape": "qubastore ingest --model MODEL --suite quba --data-root DIR",
    "imagenet_x": "qubastore import imagenet-x",
    "invariance": "qubastore ingest --model MODEL --suite beyond-imagenet --data-root DIR",
}
"""Part of a model's page -> the command that makes its data, for suites with the study's constants."""


def collect(
    store: Store,
    *,
    suite: str = QUBA.name,
    where: str | None = None,
    models: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    without_known_faults: bool = False,
    details: bool = True,
    log: Callable[[str], None] = lambda _: None,
) -> Json:
    """Collect everything that the page shows, as JSON-compatible data.

    Args:
        store: An open store.
        suite: Name of the suite.
        where: SQL condition on `rankable`.
        models: Names; if given, only these models.
        resamples: Number of resamples of the images of measured models; 0 means no intervals.
        seed: Seed of the resamples.
        without_known_faults: Whether the page opens without published figures that are known or likely to be wrong;
            it contains them in any case, so that the reader can switch.
        details: Whether to collect what the pages of measured models show; else `details` has None for each of them,
            and the page asks a server for `model_details`.
        log: Called with the name of each model before it is resampled; models whose replicates are kept are not.

    Raises:
        UsageError: on an unknown suite or model, or if no model is left.
        QueryError: on a condition that DuckDB rejects.
    """
    with Pool(store, PoolRequest(suite, "all", where)) as pool:
        rows = _rows(pool)
    if models:
        check_models(models, [row["model"] for row in rows], suite)
        rows = [row for row in rows if row["model"] in models]
        # The command on the page must rank only these models, as the page does.
        where = only_models(where, models)
    if not rows:
        raise UsageError(f"the report would be empty: no model of suite {suite} is left", hint="--where, --suite")
    absent = absent_dimensions(store, suite)
    measured = [row["model"] for row in rows if row["source"] == "measured"]
    ids = model_ids(store) if measured else {}
    if measured and resamples:
        resampler = Resampler(store, suite, BootstrapOptions(resamples, seed=seed))
        resampler.read([ids[model] for model in measured])
        for row in rows:
            if row["source"] == "measured":
                if not resampler.is_kept(ids[row["model"]]):
                    log(row["model"])
                row["resamples"] = _packed(resampler, ids[row["model"]])
    return {
        "version": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": suite,
        "publishedConstants": has_study_constants(suite),
        "withoutKnownFaults": without_known_faults,
        "protocols": {c.what: c.says for c in difference_causes().values() if c.kind == PROTOCOL},
        "where": where or "",
        "resamples": resamples if measured else 0,
        "seed": seed,
        "dimensions": [
            {
                "name": d.name,
                "title": d.title,
                "meaning": d.meaning,
                "better": d.better,
                # As in `rank`: what the suite has no runs for is not weighted.
                "weight": 0.0 if d.name in absent else float(d.default_weight),
                "mean": d.published_mean,
                "std": d.published_std,
                "unit": d.unit,
            }
            for d in DIMENSIONS
        ],
        "rows": rows,
        "details": _details(store, suite, {model: ids[model] for model in measured})
        if details
        else dict.fromkeys(measured),
        "trainings": _trainings(store, suite, measured) if details else {},
        "people": store.records(_PEOPLE),
        "make": MAKE if suite in BUILT_IN else {},
    }


def model_details(store: Store, suite: str, model: str) -> Json:
    """What the page of one measured model shows: `detail` and `trainings`, as in the result of `collect`.

    Raises:
        UsageError: If the store has no such model.
    """
    ids = model_ids(store)
    check_models([model], list(ids), suite)
    return {"detail": _details(store, suite, {model: ids[model]})[model], "trainings": _trainings(store, suite)}


def check_models(models: Sequence[str], known: Sequence[str], suite: str) -> None:
    """Check that all models are among those that can be ranked.

    Raises:
        UsageError: with the names of those that are not.
    """
    if unknown := sorted(set(models) - set(known)):
        raise UsageError(
            f"{', '.join(unknown)}: not among the models that can be ranked in suite {suite}",
            hint=did_you_mean(unknown[0], known) or "qubastore sql 'select model from rankable'",
        )


def split_names(store: Store, text: str, suite: str) -> list[str]:
    """Split a comma-separated list of models; names that can be ranked in the suite may contain commas themselves."""
    known = [row[0] for row in store.rows("select distinct model from rankable where suite = ?", [suite])]
    by_length = sorted(known, key=len, reverse=True)
    found = []
    rest = text.strip()
    while rest:
        whole = (each for each in by_length if re.match(rf"{re.escape(each)}\s*(?:,|$)", rest))
        name = next(whole, rest.partition(",")[0].strip())
        found.append(name)
        rest = rest[len(name) :].lstrip().removeprefix(",").strip()
    return found


def only_models(where: str | None, models: Sequence[str]) -> str:
    """A condition on `rankable`, restricted to the named models."""
    named = is_one_of("model", models)
    return f"({where}\n) and {named}" if where else named


def _rows(pool: Pool) -> list[Json]:
    columns = ", ".join(f"pool.{d.column}::double as {d.name}" for d in DIMENSIONS)
    found = pool.store.records(
        f"""
        select pool.model, pool.source, pool.origin, pool.label, pool.architecture, pool.pretraining, pool.paradigm,
            studied.paper, {columns}
        from temp.{pool.table} as pool
        left join published_models as studied on studied.model = pool.model and studied.source = pool.source
        where pool.suite = ?
        order by pool.source, pool.model
        """,
        [pool.request.suite],
    )
    rows = []
    for row in found:
        is_published = row["source"] == SOURCE
        faults = known_faults(row["model"]) if is_published else {}
        values = [row.pop(d.name) for d in DIMENSIONS]
        rows.append(
            {**row, "values": values, "faults": faults, "protocol": _protocol(row["model"]) if is_published else []}
        )
    return rows


def _protocol(model: str) -> list[tuple[str, str, list[str]]]:
    """The figures of a published row that another procedure gave: short name of the cause, detail, dimensions."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in differences_of(model, PROTOCOL):
        found.setdefault((each.cause.what, each.detail), []).append(each.dimension)
    return [(*key, dimensions) for key, dimensions in found.items()]


def _packed(resampler: Resampler, model_id: str) -> list[str | None]:
    """The resamples of each dimension, float32 in base64; None for the dimensions that the model does not have."""
    import numpy as np

    found = resampler.dimensions(model_id)
    packed = {name: estimate.resamples.astype(np.dtype("<f4")).tobytes() for name, estimate in found.items()}
    return [base64.b64encode(packed[d.name]).decode() if d.name in packed else None for d in DIMENSIONS]


def _trainings(store: Store, suite: str, measured: Sequence[str] | None = None) -> dict[str, list[Json]]:
    """Training -> dimensions of those of its checkpoints that are shown, by step; trainings with one step are left out.

    None shows the checkpoints of all models. Costs are left out, too: they do not change.
    """
    changing = [d.name for d in DIMENSIONS if d.unit != "millions"]
    shown = "true" if measured is None else is_one_of("model", measured)
    rows = store.records(
        "select training, step, model, dimension, value from trajectory"
        f" where suite = ? and {shown} and {is_one_of('dimension', changing)}"
        " qualify min(step) over (partition by training) < max(step) over (partition by training) order by all",
        [suite],
    )
    found: dict[str, list[Json]] = {}
    for row in rows:
        found.setdefault(row.pop("training"), []).append(row)
    return found


def _details(store: Store, suite: str, measured: Mapping[str, str]) -> dict[str, Json]:
    """Model -> part of its page -> rows, including the runs that are missing, for models given as name -> id."""
    details: dict[str, Json] = {model: {} for model in measured}
    if not measured:
        return details
    runs: dict[str, list[str]] = {}
    for role, run_id in store.rows(
        "select role, run_id from dimension_runs"
        f" where suite = ? and run_id is not null and {is_one_of('model', measured)}",
        [suite],
    ):
        runs.setdefault(role, []).append(run_id)
    chosen = [run_id for of_role in runs.values() for run_id in of_role]
    with Snapshot(store, list(_PER_RUN.values()), chosen) as copy:
        for part, (role, query) in _PARTS.items():
            records = copy.records if part in _PER_RUN else store.records
            column = "clean_run_id" if part == "invariance" else "run_id"
            for row in records(query.format(runs=is_one_of(column, runs.get(role, [])))):
                details[row.pop("model")].setdefault(part, []).append(row)
    for model, states in states_of_models(store, measured, suite).items():
        lacks = []
        for state in states:
            for lack in collapsed(state.lacks):
                lacks.append({"dimension": state.dimension, "run": lack.run, "why": lack.reason, "make": lack.command})
        details[model]["lacks"] = lacks
    return details
