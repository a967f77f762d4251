"""What the store has: datasets, the complete runs over them, and the ingests at work."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.errors import UsageError
from qubastore.explorer.slices import VALUES
from qubastore.lake.database import Database
from qubastore.runs.sessions import NOTED, killed

Json = dict[str, Any]


def overview(store: Database) -> Json:
    """The datasets with complete runs, and the number of everything.

    Returns:
        `store`; `models`, `runs`: counts; `datasets`: one mapping per dataset that has complete runs.
    """
    datasets = store.records(
        """
        select
            datasets.dataset_id, datasets.name, datasets.n_samples, datasets.label_space,
            len(datasets.classes) as n_classes, count(*) as n_runs, count(distinct runs.model_id) as n_models,
            list(distinct runs.condition order by runs.condition) as conditions
        from run_summary join runs using (run_id) join datasets using (dataset_id)
        group by all
        order by n_models desc, n_samples desc, name, dataset_id
        """
    )
    ((models, runs),) = store.rows("select (select count(*) from models), (select count(*) from run_summary)")
    return {"store": str(store.location), "models": models, "runs": runs, "datasets": datasets}


def runs_over(store: Database, dataset_id: str) -> Json:
    """A dataset's classes and factors, and the complete runs over it.

    Raises:
        UsageError: If the store has no such dataset.
    """
    found = store.records(
        "select dataset_id, name, n_samples, label_space, classes from datasets where dataset_id = ?", [dataset_id]
    )
    if not found:
        raise UsageError(f"the store has no dataset {dataset_id!r}", hint="qubastore show runs")
    runs = store.records(
        """
        select
            runs.run_id, model_names.model, runs.condition, runs.framing, runs.precision, runs.decoder,
            run_summary.n_outputs, run_summary.n_failed,
            run_summary.n_correct / nullif(run_summary.n_outputs, 0) as accuracy,
            coalesce(kept.features, false) as features
        from run_summary join runs using (run_id) join model_names using (model_id)
        left join (
            select run_id, bool_and(list_contains(kept, 'features')) as features from shards group by run_id
        ) as kept using (run_id)
        where runs.dataset_id = ?
        order by runs.condition = 'clean' desc, runs.condition, model_names.model, runs.framing, runs.precision
        """,
        [dataset_id],
    )
    factors = store.rows(
        "select known.key, list(distinct known.value order by known.value) from ("
        " select unnest(map_entries(factors)) as known from samples where dataset_id = ?"
        ") group by known.key order by known.key",
        [dataset_id],
    )
    # Factors with a value of its own for almost every image, such as a caption, are for search, not for choosing.
    titles = english_names(found[0]["classes"])
    return {
        **found[0],
        "titles": titles,
        "runs": runs,
        "factors": {key: values for key, values in factors if len(values) <= VALUES},
    }


def dataset_of(store: Database, run_id: str) -> str:
    """The id of the dataset of a complete run.

    Raises:
        UsageError: If the store has no such run.
    """
    rows = store.rows("select dataset_id from runs join run_summary using (run_id) where run_id = ?", [run_id])
    if not rows:
        raise UsageError(f"the store has no complete run {run_id!r}", hint="qubastore show runs")
    return str(rows[0][0])


def english_names(classes: Sequence[str]) -> list[str] | None:
    """English names of classes that are ImageNet's synsets, as open_clip has them; None for other classes.

    The names are read from open_clip's file alone: importing the package would import torch.
    """
    synsets = imagenet_synsets()
    if not classes or not set(classes) <= set(synsets):
        return None
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        return None
    file = Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    spec = importlib.util.spec_from_file_location("_zero_shot_metadata", file)
    if spec is None or spec.loader is None or not file.exists():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = dict(zip(synsets, module.IMAGENET_CLASSNAMES, strict=True))
    return [names[each] for each in classes]


def progress(store: Database) -> list[Json]:
    """The runs that are worked on or not complete, the active ones first."""
    return store.records(
        """
        with dead as (select unnest(run_ids) as run_id from drivers where list_contains(?, driver_id))
        select
            model, dataset, condition, n_done, n_samples, n_failed, images_per_second, seconds_left, complete,
            n_drivers > (select count(*) from dead where dead.run_id = run_progress.run_id) as active
        from run_progress
        order by active desc, complete, model, dataset, condition
        limit 500
        """,
        [killed(store.rows(NOTED))],
    )


def tables(store: Database) -> list[Json]:
    """The tables and views of the store with their columns, for completion."""
    return store.records(
        "select table_name as name, list(column_name order by column_index) as columns from duckdb_columns()"
        " where not internal and schema_name in ('main', 'temp') and database_name not like '\\_\\_%' escape '\\'"
        " group by table_name order by table_name"
    )
