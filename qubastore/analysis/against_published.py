"""Compare measured figures with those that the study published, and note what is known about each difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qubastore.analysis.differences import of_resamples
from qubastore.analysis.table import Table
from qubastore.errors import UsageError
from qubastore.lake.database import Database
from qubastore.lake.snapshot import Snapshot
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.known_differences import (
    FAULT,
    FRAMING,
    PREPROCESSING,
    PROTOCOL,
    Difference,
    differences_of,
    reasons,
)
from qubastore.metrics.suites import QUBA, QUBA_REFERENCE
from qubastore.published import SOURCE
from qubastore.ranking.resampling import Resampler
from qubastore.runs.lookup import model_ids, named_model
from qubastore.statistics.options import BootstrapOptions

ROUNDING = {"parameters": 0.05}
"""Half of the last digit of a published figure, where it differs from the default."""


_USUAL_ROUNDING = 0.00005


OTHER_INPUT = "other framing or preprocessing"
"""Mark of a figure whose images were not preprocessed as in the study."""


SHOWN_MODELS = 3
"""The most models that a suggested command lists."""

_OPTIONS = BootstrapOptions()


def against_published(
    store: Database,
    models: Sequence[str] = (),
    *,
    suite: str | None = None,
    options: BootstrapOptions = _OPTIONS,
    log: Callable[[str], None] = lambda _: None,
) -> Table:
    """Compare measured figures with the study's, for models that the study has.

    Args:
        store: An open store.
        models: Names of measured models; none means all that the study has.
        suite: A suite of the study's dimensions. None: `quba-reference`, in which every image is framed as in the
            study, falling back to `quba` for figures that a model does not have there.
        options: Resamples, level and seed.
        log: Called with the name of each model before it is resampled; models whose replicates are kept are not.

    Returns:
        Rows (model, published_as, dimension, suite, measured, low, high, published, contradicts, known_fault,
        other_protocol): a published figure is contradicted where it lies outside the interval by more than its
        rounding. `other_protocol` says what the study did otherwise than this figure; null where that is nothing.

    Raises:
        UsageError: if the study has none of the measured models.
    """
    chosen = [named_model(store, model)[0] for model in models]
    asked = [QUBA_REFERENCE.name, QUBA.name] if suite is None else [suite]
    found = _studied(store, chosen, asked)
    if not found:
        raise UsageError(
            f"{'none of these models' if chosen else 'no measured model'} is one of the study's models with runs in"
            f" {' or '.join(asked)}",
            hint="qubastore show zoo, for the models of the study",
        )
    resamplers = {name: Resampler(store, name, options) for name in asked}
    rows: list[tuple[Any, ...]] = []
    ids = model_ids(store)
    for each in found:
        model_id = ids[each.model]
        if not all(resamplers[name].is_kept(model_id) for name in asked if name in each.suites):
            log(each.model)
        estimates = {name: resamplers[name].dimensions(model_id) for name in asked if name in each.suites}
        for name, figure in each.published.items():
            used = next((suite for suite in estimates if name in estimates[suite]), None)
            if used is None:
                continue
            low, high = estimates[used][name].interval(options.level)
            slack = ROUNDING.get(name, _USUAL_ROUNDING)
            contradicts = not low - slack <= figure <= high + slack
            there = [d for d in differences_of(each.published_as) if d.dimension == name]
            faults = reasons(d for d in there if d.cause.kind == FAULT)
            others = _other_protocol([d for d in there if d.cause.kind == PROTOCOL], used, each.preprocessing)
            value = estimates[used][name].value
            row = (each.model, each.published_as, name, used, value, low, high, figure, contradicts)
            rows.append((*row, faults.get(name), others))
    columns = ("model", "published_as", "dimension", "suite", "measured", "low", "high", "published", "contradicts")
    n = sum(row[8] for row in rows)
    notes = [
        f"{n} of {len(rows)} published figures lie outside the interval of the measured one",
        *_suite_notes(rows, suite),
        of_resamples(options),
        *dict.fromkeys(note for resampler in resamplers.values() for note in resampler.notes),
    ]
    return Table((*columns, "known_fault", "other_protocol"), rows, notes)


@dataclass(frozen=True)
class _Studied:
    """A measured model that the study has: its two names, its preprocessing, its suites, the published figures."""

    model: str
    published_as: str
    preprocessing: str
    suites: tuple[str, ...]
    published: dict[str, float]


def _studied(store: Database, chosen: Sequence[str], suites: Sequence[str]) -> list[_Studied]:
    columns = ", ".join(f"any_value(studied.{d.column})" for d in DIMENSIONS)
    with Snapshot(store, ["rankable", "studied_models"]) as copy:
        rows = copy.rows(
            f"""
            select stored.stored_as, stored.model, stored.preprocessing, list(distinct measured.suite), {columns}
            from rankable as measured
            join studied_models as stored on stored.stored_as = measured.model and stored.study = ?
            join rankable as studied on studied.model = stored.model and studied.source = stored.study
            where measured.source = 'measured' and list_contains(?, measured.suite)
                and (len(?::varchar[]) = 0 or list_contains(?, measured.model))
            group by stored.stored_as, stored.model, stored.preprocessing
            order by all
            """,
            [SOURCE, list(suites), chosen, chosen],
        )
    names = [d.name for d in DIMENSIONS]
    found = [
        _Studied(model, published_as, preprocessing, tuple(there), dict(zip(names, values, strict=True)))
        for model, published_as, preprocessing, there, *values in rows
    ]
    # Prefer the model measured with the study's preprocessing for the comparison, if there is one.
    as_studied = {each.published_as for each in found if each.preprocessing == "study"}
    return [each for each in found if chosen or each.preprocessing == "study" or each.published_as not in as_studied]


def _other_protocol(differences: Sequence[Difference], suite: str, preprocessing: str) -> str | None:
    """How the study's protocol differs from that of a figure measured in a suite with a preprocessing."""
    texts = []
    for each in differences:
        own_input = each.cause.what == PREPROCESSING
        if preprocessing == "own" if own_input else suite not in each.reproduced_in:
            texts.append(OTHER_INPUT if own_input or each.cause.what == FRAMING else each.reason)
    return "; ".join(dict.fromkeys(texts)) or None


def _suite_notes(rows: Sequence[tuple[Any, ...]], suite: str | None) -> list[str]:
    """Notes on the suite of the figures, and the command that measures marked ones with the study's preprocessing."""
    marked = list(dict.fromkeys(row[1] for row in rows if row[10] and OTHER_INPUT in row[10]))
    notes = []
    if suite is None:
        notes.append(
            f"compared in {QUBA_REFERENCE.name}, which resizes and crops every image as the study does; --suite"
            f" {QUBA.name} for the other"
        )
        if elsewhere := sum(row[3] == QUBA.name for row in rows):
            notes.append(f"{elsewhere} of these figures from the suite {QUBA.name}: {QUBA_REFERENCE.name} has none")
    if marked:
        models = " ".join(f"--model zoo:{name}" for name in marked[:SHOWN_MODELS])
        more = f" (and {len(marked) - SHOWN_MODELS} more models)" if len(marked) > SHOWN_MODELS else ""
        notes.append(
            f"marked '{OTHER_INPUT}': measure them as the study did with qubastore ingest {models}"
            f" --suite {QUBA_REFERENCE.name} --data-root DIR{more}"
        )
    return notes
