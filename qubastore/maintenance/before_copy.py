"""What is checked and cleared in a target before a store is copied into it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qubastore.errors import StoreError
from qubastore.lake.database import Database
from qubastore.models.fingerprints import Fingerprint
from qubastore.runs.device_benchmarks import KEY, delete_benchmark

if TYPE_CHECKING:
    import duckdb


def check_suites(source: Database, target: Database) -> None:
    """Reject a suite that has another decoder in the target: its runs would be those of both.

    Raises:
        StoreError: with the name of the suite.
    """
    query = "select suite, any_value(decoder) from own_suites group by suite order by suite"
    there = dict(target.rows(query))
    for suite, decoder in source.rows(query):
        if there.get(suite, decoder) != decoder:
            raise StoreError(
                f"suite {suite} has another decoder in the target",
                expected=decoder,
                found=there[suite],
                hint="give one of the two suites another name, and ingest with it again",
            )


def drop_older_benchmarks(source: Database, target: Database, model_ids: Sequence[str]) -> None:
    """Delete benchmarks of models from the target that the source has measured again since."""
    query = f"select {', '.join(KEY)}, measured_at from device_benchmarks where list_contains(?, model_id)"
    there = {tuple(found): at for *found, at in target.rows(query, [list(model_ids)])}
    measured = source.rows(query, [list(model_ids)])
    older = [found for *found, at in measured if at > there.get(tuple(found), at)]

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        for found in older:
            delete_benchmark(connection, found)

    if older:
        target.write(work)


def check_checkpoints(source: Database, target: Database, model_ids: Sequence[str]) -> None:
    """Reject a checkpoint whose training and step are another model in the target.

    Raises:
        StoreError: with the training and the step.
    """
    query = "select training, step, model_id from checkpoints"
    there = {(training, step): model_id for training, step, model_id in target.rows(query)}
    for training, step, model_id in source.rows(
        f"{query} where list_contains(?, model_id) order by all", [[*model_ids]]
    ):
        if there.get((training, step), model_id) != model_id:
            raise StoreError(
                f"step {step} of {training} is another model in {target.location} than in {source.location}",
                expected=model_id,
                found=there[training, step],
                hint=f"qubastore rm model {shlex.quote(f'{training},step={step}')} in one of the two",
            )


def check_models(source: Database, target: Database, model_ids: Sequence[str]) -> None:
    """Reject a model whose outputs differ between the stores: ids made before fingerprints do not show that.

    Raises:
        StoreError: with the name of the model.
    """
    query = "select model_id, values, precision, version from fingerprints where list_contains(?, model_id)"
    here, there = (
        {model_id: Fingerprint.of(*known) for model_id, *known in store.rows(query, [list(model_ids)])}
        for store in (source, target)
    )
    for model_id in sorted(here.keys() & there.keys()):
        if here[model_id].agrees(there[model_id]) is False:
            ((name,),) = source.rows("select name from models where model_id = ?", [model_id])
            raise StoreError(
                f"{name} ({model_id}) has different outputs in {source.location} and {target.location}",
                expected="the same outputs on the fixed images under one id",
                found="the same weights but different outputs, possibly from different library releases",
                hint=f"qubastore rm model {shlex.quote(name)} in one of the two, and ingest it again",
            )
