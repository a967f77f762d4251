"""Views generated from tables in the code: metrics, dimensions, suites, the zoo, faults of published figures."""

from __future__ import annotations

from collections.abc import Sequence

from qubastore.lake.ducklake import quote
from qubastore.lake.view import View
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS
from qubastore.metrics.known_differences import difference_causes, known_differences
from qubastore.metrics.study_pairs import read_pairs
from qubastore.metrics.suites import BUILT_IN
from qubastore.models.zoo import whole_zoo

_NULL = "\\N"
"""What stands for null in a long text."""


def table_views() -> list[View]:
    """Every view whose rows are defined in the code."""
    metrics = [(m.name, m.unit, m.better, m.over, m.view, m.meaning, m.reference, m.version) for m in METRICS]
    dimensions = [
        (d.name, d.better, d.default_weight, d.published_mean, d.published_std, ", ".join(d.roles), d.unit, d.meaning)
        for d in DIMENSIONS
    ]
    names = [(name, dimension) for name, means in DIMENSION_NAMES.items() for dimension in means]
    roles = [
        (suite.name, r.role, r.dataset, r.condition, r.framing, r.n_samples, r.label_space, suite.decoder)
        for suite in BUILT_IN.values()
        for r in suite.roles
    ]
    causes = [
        (cause.what, cause.kind, cause.divisor, cause.says, cause.evidence) for cause in difference_causes().values()
    ]
    differences = [
        (each.model, each.dimension, each.cause.what, each.certainty, each.detail, " ".join(each.reproduced_in))
        for each in known_differences()
    ]
    return [
        _values_view(
            "metrics",
            "Every scalar metric, from qubastore/metrics/catalogue.py.",
            "One row per metric.",
            {
                "metric": "name of the metric",
                "unit": "unit or range",
                "better": "up or down; empty if neither is better",
                "over": "run: one number per run; suite: one per model and suite; view: one per row of its view",
                "view": "the view with its values; empty for metrics that are only in metric_values",
                "meaning": "definition in a sentence",
                "reference": "the paper that defines it",
                "metric_version": "version of the definition",
            },
            metrics,
        ),
        _values_view(
            "dimensions",
            "The nine quality dimensions, from qubastore/metrics/dimensions.py.",
            "One row per dimension.",
            {
                "dimension": "name of the dimension",
                "better": "up or down",
                "default_weight": "weight in QUBA before factors",
                "published_mean": "mean that the study uses for normalisation, in the dimension's unit",
                "published_std": "standard deviation that the study uses for normalisation, in the dimension's unit",
                "roles": "roles in the suite whose runs give the value",
                "unit": "unit or range",
                "meaning": "definition in a sentence",
            },
            dimensions,
        ),
        _values_view(
            "dimension_names",
            "Every name that a weight may use: dimensions, aliases and groups.",
            "One row per name and dimension that it stands for.",
            {"name": "a dimension, an alias or a group", "dimension": "dimension that it stands for"},
            names,
        ),
        _text_view(
            "zoo",
            "The models of both studies and their names in a store (qubastore/models/zoo.py).",
            "One row per study and model.",
            {
                "study": "hesse2025 (the model is in the published table) or vishniakov2023",
                "model": "its name in the study",
                "stored_as": "its name in a store with its own preprocessing; empty if it cannot be loaded",
                "stored_as_reference": "its name with the study's preprocessing; stored_as if that is its own",
                "status": "exact: the study's own weights; else what is needed to load it",
                "tuning": "supervised (only on ImageNet-1k's labels), fine-tuned, linear probe or zero-shot",
            },
            [(e.study, e.name, e.stored_as, e.stored_as_reference, e.status, e.tuning) for e in whole_zoo()],
        ),
        _text_view(
            "study_pairs",
            "The pairs of published models that compare --groups compares (qubastore/metrics/study_pairs.py).",
            "One row per comparison and pair.",
            {
                "comparison": "what is compared, as in adversarial-training",
                "model_a": "name of the first in the published table",
                "model_b": "name of the second",
                "backbone": "what they have in common",
                "differs": "what differs in addition to what is compared; empty if nothing is known to",
            },
            [(pair.comparison, pair.model_a, pair.model_b, pair.backbone, pair.differs) for pair in read_pairs()],
        ),
        _text_view(
            "suites",
            "The datasets and conditions of roles: built-in suites (qubastore/metrics/suites.py) and the user's own.",
            "One row per suite, role, dataset and condition.",
            {
                "suite": "name of the suite",
                "role": "role of the run, as in clean",
                "dataset": "name of the dataset",
                "condition": "how the inputs are altered",
                "framing": "how an image becomes the input",
                "n_samples": "the full number of samples; runs over fewer are not used in dimensions; null: any number",
                "label_space": "the label space that the dataset must have; null or empty: any",
                "decoder": "the decoder of the runs that count",
            },
            roles,
            "own_suites",
        ),
        _values_view(
            "study_suites",
            "The suites with the QUBA study's nine dimensions, whose scores are normalised with its constants"
            " (qubastore/metrics/suites.py).",
            "One row per suite.",
            {"suite": "name of the suite"},
            [(suite.name,) for suite in BUILT_IN.values() if suite.study_constants],
        ),
        _values_view(
            "difference_causes",
            "Why figures of the published table differ from what is measured here (qubastore/published).",
            "One row per kind of difference.",
            {
                "what": "short name of the difference",
                "kind": "fault (a wrong number) or protocol (another procedure)",
                "divisor": "whether it also affects the clean accuracy by which relative figures are divided",
                "says": "description in one line",
                "evidence": "the evidence in the study's released code and its figures",
            },
            causes,
        ),
        _text_view(
            "known_differences",
            "The figures of the published table that differ (qubastore/published/known_differences.csv); the view"
            " published_differences also has the reasons.",
            "One row per model, dimension and difference.",
            {
                "model": "name of the model in the published table",
                "dimension": "the dimension whose figure differs",
                "what": "short name of the difference",
                "certainty": "shown (code and figure agree) or likely",
                "detail": "its size, or which of several differences it is; empty if unknown",
                "reproduced_in": "suites that follow the study's procedure, separated by spaces",
            },
            differences,
        ),
    ]


def _text_view(
    name: str,
    summary: str,
    grain: str,
    columns: dict[str, str],
    rows: Sequence[tuple[str | int | None, ...]],
    first: str | None = None,
) -> View:
    """A view over many rows of texts and integers, written as one long text that DuckDB splits.

    DuckDB binds 2,000 rows of VALUES in 100 ms, each time that a query names the view, but one text in 1 ms.
    """
    text = "\n".join("\t".join(_NULL if cell is None else str(cell) for cell in row) for row in rows)
    cells = []
    for number, (column, values) in enumerate(zip(columns, zip(*rows, strict=True), strict=True), start=1):
        cell = f"nullif(cells[{number}], {quote(_NULL)})" if None in values else f"cells[{number}]"
        cells.append(
            f"{cell}::bigint as {column}" if any(isinstance(v, int) for v in values) else f"{cell} as {column}"
        )
    split = (
        f"select string_split(line, chr(9)) as cells from (select unnest(string_split({quote(text)}, chr(10))) as line)"
    )
    return _view(name, summary, grain, columns, f"select {', '.join(cells)} from ({split})", first)


def _values_view(
    name: str,
    summary: str,
    grain: str,
    columns: dict[str, str],
    rows: Sequence[tuple[str | float | None, ...]],
) -> View:
    # DuckDB reads the literal 0.1 as DECIMAL; a cast from text preserves all 64 bits of a float.
    spelled = [
        ", ".join(
            quote(v)
            if isinstance(v, str)
            else f"'{v!r}'::double"
            if isinstance(v, float)
            else "null"
            if v is None
            else str(v)
            for v in row
        )
        for row in rows
    ]
    values = ",\n    ".join(f"({row})" for row in spelled)
    return _view(
        name, summary, grain, columns, f"select * from (values\n    {values}\n) as listed({', '.join(columns)})"
    )


def _view(name: str, summary: str, grain: str, columns: dict[str, str], select: str, first: str | None = None) -> View:
    """A view over rows in the code, after those of a table where `first` names one."""
    header = "\n".join(f"{column}: {meaning}" for column, meaning in columns.items())
    if first is not None:
        select = f"from {first} union all {select}"
    tables = frozenset([first] if first else [])
    return View(name, f"{summary}\n\nGrain: {grain}\n\n{header}", select, tables=tables)
