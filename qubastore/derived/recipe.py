"""Derived runs: computed from the kept logits or features of other runs, without images.

A derived run belongs to a model of its own (a temperature, an ensemble, other prompts). The table `derivations` holds
its source runs, a hash of their contents, and the command that makes it. When a source changes, the same transaction
empties the derived run (`runs.removal.empty_derived`): it is unfinished until it is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import SIGNIFICANT_BITS
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import StoreError
from qubastore.hashing import identifier
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.models.model import Model
from qubastore.runs import outputs, records, removal
from qubastore.runs.commit import commit_shard
from qubastore.runs.run import Run
from qubastore.runs.shard import Failure, Shard
from qubastore.statistics import scores

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Recipe:
    """How a derived run is computed.

    Attributes:
        kind: `rescore`, `temperature`, `ensemble` or `probe`.
        command: The command that recomputes it.
        vectors: `logits` or `features`: what is read from the sources.
        read: Runs over one dataset whose vectors are combined, in order.
        compute: Takes sample ids (n,) int32 and, for each run read, (n, width) float32; returns (n, n_outputs) float32
            logits.
        also_from: Further runs that it depends on, such as the one that a temperature was fitted on.
        known: The `states` of those runs when they were read.
        label_space: How its outputs become the dataset's classes; None means as those of the runs read.
    """

    kind: str
    command: str
    vectors: str
    read: Sequence[str]
    compute: Callable[[NDArray[np.int32], list[NDArray[np.float32]]], NDArray[np.float32]]
    also_from: Sequence[str] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    label_space: str | None = None

    @property
    def sources(self) -> list[str]:
        """Every run that the recipe depends on, each once."""
        return list(dict.fromkeys([*self.read, *self.also_from]))


def derive(store: Database, model: Model, recipe: Recipe) -> str:
    """Compute a run of `model` from other runs, shard by shard; shards that are already committed are kept.

    A sample that is missing from one of the runs becomes a failure. Complete the run with `publish_runs`.

    Args:
        store: A store open for writing.
        model: The model that the run belongs to.
        recipe: How the run is computed.

    Returns:
        The id of the run.

    Raises:
        StoreError: if a source changes in the meantime.
    """
    (row,) = store.rows(
        """
        select runs.dataset_id, runs.framing, runs.condition, runs.precision, runs.decoder, runs.shard_size,
            runs.versions, datasets.n_samples, datasets.label_space, coalesce(runs.answer_space, datasets.label_space)
        from runs join datasets using (dataset_id) where run_id = ?
        """,
        [recipe.read[0]],
    )
    dataset_id, framing, condition, precision, decoder, shard_size, versions, n_samples, of_dataset, of_source = row
    space = recipe.label_space or of_source
    run = Run(
        model.model_id,
        dataset_id,
        n_samples,
        shard_size,
        framing=framing,
        condition=condition,
        precision=precision,
        decoder=decoder,
        origin="derived",
        answer_space="" if space == of_dataset else space,
        versions=versions,
    )
    before = states(store, recipe.sources) | dict(recipe.known)
    store.write(lambda connection: _register(connection, run, model, recipe, before))
    done = {number for (number,) in store.rows("select shard from shards where run_id = ?", [run.run_id])}
    for number in range(run.n_shards):
        if number not in done:
            commit_shard(
                store,
                _shard(store, run, number, recipe, space),
                dataset_id=dataset_id,
                check=lambda connection: check_unchanged(connection, before, model.name),
            )
    return run.run_id


UNPUBLISHED = "not published"
"""The state of a run whose shards are newer than its rows, or that is not complete."""


def states(store: Database, runs: Sequence[str]) -> dict[str, str]:
    """Run -> hash of its shards and their commit times: it changes whenever the run's outputs do."""
    return {run_id: _state(store.rows, run_id) for run_id in runs}


def _state(rows: Callable[[str, list[Any]], list[tuple[Any, ...]]], run_id: str) -> str:
    # As an instant: independent of the reader's time zone.
    query = """
        select shards.shard, epoch_us(shards.committed_at) from shards join run_summary using (run_id)
        where shards.run_id = ? order by shards.shard
    """
    read = rows(query, [run_id])
    return identifier(run_id, [list(row) for row in read]) if read else UNPUBLISHED


def check_unchanged(connection: duckdb.DuckDBPyConnection, before: Mapping[str, str], what: str) -> None:
    """Check, inside the transaction that stores a result, that its sources have not changed since they were read.

    Raises:
        StoreError: if one has changed, with its id.
    """
    for run_id, state in before.items():
        now = _state(lambda query, values: connection.execute(query, values).fetchall(), run_id)
        if UNPUBLISHED in (state, now) or state != now:
            raise StoreError(
                f"run {run_id}, a source of {what}, has changed in the meantime", hint="run the same command again"
            )


def _register(
    connection: duckdb.DuckDBPyConnection, run: Run, model: Model, recipe: Recipe, before: Mapping[str, str]
) -> None:
    check_unchanged(connection, before, model.name)
    made_of = set(before.items())
    query = "select source_run_id, parameters from derivations where run_id = ?"
    noted = set(connection.execute(query, [run.run_id]).fetchall())
    if noted == made_of:
        return
    # Outputs computed from other sources are removed, complete or not.
    removal.remove_run(connection, run.run_id)
    records.register_model(connection, model)
    records.register_run(connection, run)
    now = datetime.now(UTC)
    listed = [(run.run_id, *source, now) for source in sorted(made_of)]
    insert(
        connection,
        "derivations",
        [(run_id, source, recipe.kind, state, at, recipe.command) for run_id, source, state, at in listed],
    )


def _shard(store: Database, run: Run, number: int, recipe: Recipe, space: str) -> Shard:
    first, end = run.shard_range(number)
    ids, vectors = read_vectors(store, recipe.vectors, recipe.read, first, end)
    written = outputs.Written()
    if len(ids):
        logits = recipe.compute(ids, vectors)
        labels = read_labels(store, run.dataset_id, first, end)[ids - first]
        columns = scores.output_columns(logits, labels, label_space(space))
        rounded = scores.round_significant(logits, SIGNIFICANT_BITS[run.precision])
        tables = {
            "outputs": outputs.outputs_table(run.run_id, ids, columns),
            "logits": outputs.vectors_table(run.run_id, ids, rounded),
        }
        written = outputs.write_shard(store.files, run.run_id, number, tables)
    return Shard(
        run.run_id,
        number,
        first,
        end - first,
        written.files,
        checksums=written.checksums,
        failures=_failures(store, recipe.read, first, end),
        kept=outputs.DEFAULT_KEEP,
        batch_size=end - first,
        device=f"kept {recipe.vectors}",
        seconds=0.0,
    )


def read_vectors(
    store: Database, table: str, runs: Sequence[str], first: int, end: int
) -> tuple[NDArray[np.int32], list[NDArray[np.float32]]]:
    """The sample ids in a range that all runs have, ascending, and each run's vectors for them: (n, width) float32."""
    found = []
    for run_id in runs:
        answer = store.arrow(
            f"select sample_id, values from {table}"
            " where run_id = ? and sample_id >= ? and sample_id < ? order by sample_id",
            [run_id, first, end],
        )
        ids = answer.column("sample_id").to_numpy().astype(np.int32)
        flat = answer.column("values").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        width = len(flat) // len(ids) if len(ids) else 0
        found.append((ids, flat.reshape(len(ids), width).astype(np.float32, copy=False)))
    common = found[0][0]
    for ids, _ in found[1:]:
        common = np.intersect1d(common, ids, assume_unique=True).astype(np.int32)
    return common, [vectors[np.searchsorted(ids, common)] for ids, vectors in found]


def read_labels(store: Database, dataset_id: str, first: int, end: int) -> NDArray[np.int32]:
    """The right classes of the samples in a range, in the form of `scores.label_matrix`."""
    rows = store.rows(
        "select labels from label_sets where dataset_id = ? and label_set = ? and sample_id >= ? and sample_id < ?"
        " order by sample_id",
        [dataset_id, records.DATASET_LABELS, first, end],
    )
    return scores.label_matrix([row[0] for row in rows])


def _failures(store: Database, runs: Sequence[str], first: int, end: int) -> tuple[Failure, ...]:
    rows = store.rows(
        "select sample_id, any_value(key), any_value(error) from failures"
        " where list_contains(?, run_id) and sample_id >= ? and sample_id < ? group by sample_id order by sample_id",
        [list(runs), first, end],
    )
    return tuple(Failure(*row) for row in rows)
