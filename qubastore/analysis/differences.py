"""Differences between two models or two runs, with intervals and tests.

Differences are paired: both sides use the same resamples of the images (`resampling`). A test compares the difference
over its bootstrap standard error with the normal distribution, two-sided, Holm-corrected over the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qubastore.analysis.pairs import Pair, left_out
from qubastore.analysis.table import Table
from qubastore.errors import UsageError, check_name, did_you_mean
from qubastore.lake.database import Database
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.suites import QUBA
from qubastore.ranking.dimension_runs import DimensionRun
from qubastore.ranking.resampling import Resampler
from qubastore.runs.lookup import RunName, complete_runs_of, named_model
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.options import BootstrapOptions
from qubastore.statistics.tests import holm

_OPTIONS = BootstrapOptions()

COLUMNS = (
    *("figure", "a", "a_low", "a_high", "b", "b_low", "b_high"),
    *("difference", "difference_low", "difference_high", "p_value", "p_holm"),
)


def of_models(
    store: Database,
    a: str,
    b: str,
    *,
    suite: str = QUBA.name,
    options: BootstrapOptions = _OPTIONS,
    log: Callable[[str], None] = lambda _: None,
) -> Table:
    """Compare two measured models, dimension by dimension.

    Args:
        store: An open store.
        a: Name of the first model.
        b: Name of the second model.
        suite: The suite whose roles give the dimensions.
        options: Resamples, level and seed.
        log: Called with the name of each model before it is resampled; models whose replicates are kept are not.

    Returns:
        Rows of `COLUMNS`, one per dimension that at least one of the two has; difference is a - b. Parameters are
        exact: they have no interval and no test.

    Raises:
        UsageError: on an unknown model or suite, the same model twice, or if neither has a dimension in the suite.
    """
    (name_a, id_a), (name_b, id_b) = named_model(store, a), named_model(store, b)
    if id_a == id_b:
        raise UsageError(f"{name_a} is named twice", expected="two models, or two runs of one: qubastore show runs")
    check_name("suite", suite, [row[0] for row in store.rows("select distinct suite from suites order by suite")])
    resampler = Resampler(store, suite, options)
    both, others = _common(resampler.runs_of(id_a), resampler.runs_of(id_b))
    without = left_out(store, both)
    sides = []
    for name, model_id in ((name_a, id_a), (name_b, id_b)):
        if without or not resampler.is_kept(model_id):
            log(name)
        sides.append(resampler.dimensions(model_id, without))
    names = [d.name for d in DIMENSIONS if d.name in sides[0] or d.name in sides[1]]
    if not names:
        raise UsageError(
            f"neither {name_a} nor {name_b} has a dimension in suite {suite}",
            hint="--suite NAME; or the ids of two runs: qubastore show runs",
        )
    apart = [d.name for d in DIMENSIONS if others.keys() & set(d.roles)]
    compared = [name for name in names if all(name in side for side in sides) and name not in apart]
    if others and compared in ([], ["parameters"]):
        raise UsageError(
            f"{name_a} and {name_b} ran over different images: {', '.join(dict.fromkeys(others.values()))}",
            expected="runs of both over one dataset",
            hint="qubastore show runs",
        )
    table = _table(names, sides[0], sides[1], options, apart, left_out_of=without)
    if others:
        where = ", ".join(dict.fromkeys(others.values()))
        table.notes.append(f"no difference where the two ran over different images: {where}")
    table.notes.extend(resampler.notes)
    return table


def of_runs(store: Database, a: RunName, b: RunName, *, options: BootstrapOptions = _OPTIONS) -> Table:
    """Compare two runs by accuracy, ece, ace, calibration_error and class_balance; arguments as in `of_models`.

    Raises:
        UsageError: if they are over different datasets, or one can be neither right nor wrong.
    """
    for run in (a, b):
        ((name,),) = store.rows("select model from named_runs where run_id = ?", [run.run_id])
        run.check_has_answers(name)
    without = left_out(store, [(run_pair(a, b).a, b.run_id)])
    resampler = Resampler(store, QUBA.name, options)
    sides = [resampler.run_figures(run.run_id, without.get(run.run_id, ())) for run in (a, b)]
    names = [name for name in sides[0] if name in sides[1]]
    table = _table(names, sides[0], sides[1], options, left_out_of=without)
    table.notes.extend(resampler.notes)
    return table


def _common(a: Sequence[DimensionRun], b: Sequence[DimensionRun]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Run pairs of two models over the same images in the same role, and the roles (with dataset) without one."""
    theirs = {(one.role, one.dataset, one.condition): one for one in b}
    both, others = [], {}
    for one in a:
        other = theirs.get((one.role, one.dataset, one.condition))
        if other is None:
            continue
        if one.dataset_id == other.dataset_id:
            both.append((one.run_id, other.run_id))
        else:
            others[one.role] = one.dataset
    return both, others


def named_pair(store: Database, a: str, b: str) -> tuple[RunName, RunName] | None:
    """Find two complete runs by prefixes of their ids; None if the texts are names of models.

    Raises:
        UsageError: if a text matches no run or several, or both match the same run.
    """
    models = {row[0] for row in store.rows("select model from model_names union select name from models")}
    if a in models or b in models or a.startswith("zoo:") or b.startswith("zoo:"):
        return None
    found = []
    for text in (a, b):
        rows = store.rows("select run_id, model_id from run_details where starts_with(run_id, ?)", [text])
        if len(rows) != 1:
            if not rows:
                hint = did_you_mean(text, models) or "qubastore show models; qubastore show runs"
                raise UsageError(f"{text!r} is neither a measured model nor the id of a run", hint=hint)
            raise UsageError(f"{len(rows)} runs begin with {text}", hint="give more of the id: qubastore show runs")
        run_id, model_id = rows[0]
        complete = [run for run in complete_runs_of(store, model_id) if run.run_id == run_id]
        if not complete:
            raise UsageError(f"run {run_id} is not complete", hint="run the same qubastore ingest again")
        found.append(complete[0])
    if found[0].run_id == found[1].run_id:
        raise UsageError(f"run {found[0].run_id} is named twice", expected="two different runs")
    return found[0], found[1]


def run_pair(a: RunName, b: RunName) -> Pair:
    """Pair two runs for a comparison image by image.

    Raises:
        UsageError: if they are over different datasets.
    """
    if a.dataset_id != b.dataset_id:
        # Two datasets may share a name: with other images, or a part of them.
        one, other = (a.dataset, b.dataset) if a.dataset != b.dataset else (a.dataset_id, b.dataset_id)
        raise UsageError(
            f"run {a.run_id} is over {one}, run {b.run_id} is over {other}",
            expected="two runs over one dataset",
            hint="qubastore show runs",
        )
    return Pair(a.run_id, b.run_id, [(a, b)])


def _table(
    names: Sequence[str],
    a: dict[str, Estimate],
    b: dict[str, Estimate],
    options: BootstrapOptions,
    apart: Sequence[str] = (),
    *,
    left_out_of: Mapping[str, Sequence[int]],
) -> Table:
    """Build rows of `COLUMNS`, without a difference for the figures in `apart`."""
    rows: list[tuple[Any, ...]] = []
    for name in names:
        sides = [_side(found.get(name), options.level, exact=name == "parameters") for found in (a, b)]
        row = (name, *sides[0], *sides[1])
        if name not in a or name not in b or name in apart:
            rows.append((*row, None, None, None, None))
            continue
        difference = a[name].minus(b[name])
        if name == "parameters":
            rows.append((*row, difference.value, None, None, None))
        else:
            rows.append((*row, difference.value, *difference.interval(options.level), difference.p_value()))
    corrected = holm([row[-1] for row in rows])
    notes = [
        "difference: a - b; p: for the null hypothesis of no difference, Holm-corrected over the rows",
        f"intervals at {100 * options.level:g} %; {of_resamples(options)}",
    ]
    if left_out_of:
        n = sum(map(len, left_out_of.values()))
        notes.append(f"{n:,} outputs of images that only one of the two could decode are left out")
    return Table(COLUMNS, [(*row, p) for row, p in zip(rows, corrected, strict=True)], notes)


def _side(found: Estimate | None, level: float, *, exact: bool) -> tuple[float | None, float | None, float | None]:
    if found is None:
        return None, None, None
    return (found.value, None, None) if exact else (found.value, *found.interval(level))


def of_resamples(options: BootstrapOptions) -> str:
    """The note on how intervals were computed."""
    return f"{options.resamples:,} resamples of the images, the same for both sides, seed {options.seed}"
