"""Committing what evaluators return: many shards in one transaction, and runs whose last shard it was to the publisher.

A kill loses at most the shards of the last two seconds, which the next ingest evaluates again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qubastore.derived.recipe import check_unchanged
from qubastore.errors import DatasetError, QubastoreError
from qubastore.evaluators.cluster.jobs import Job
from qubastore.evaluators.cluster.publisher import Publisher
from qubastore.evaluators.ingest_report import IngestReport
from qubastore.evaluators.planning.plan import Plan, PlannedRun
from qubastore.evaluators.progress import Display
from qubastore.evaluators.worker.messages import ShardResult
from qubastore.runs.commit import check_contents, commit_shards, known_contents
from qubastore.runs.records import forget_unsupported
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb

SHARDS_AT_ONCE = 64
"""Number of shards that are committed as soon as they are there."""


SECONDS_AT_ONCE = 2.0
"""Seconds after which fewer shards are committed."""


SHOWN_FAILURES = 3
"""Images per shard that are logged if they cannot be decoded; the table `failures` has all."""


class Commits:
    """Collects the results of evaluators and commits them.

    Args:
        store: A store open for writing.
        plan: What is ingested.
        strict: Whether an image that cannot be decoded is an error.
        driver: Id of the ingest.
        publisher: Publishes the runs that are complete.
        display: Where to report to.
        report: Gets the counts.
        failed: Called with each run that an evaluator could not do, and the error.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        strict: bool,
        driver: str | None,
        publisher: Publisher,
        display: Display,
        report: IngestReport,
        failed: Callable[[PlannedRun, QubastoreError], None],
    ) -> None:
        self._store, self._plan, self._strict, self._driver = store, plan, strict, driver
        self._publisher, self._display, self._report, self._failed = publisher, display, report, failed
        self._contents: dict[str, dict[int, str]] = {}
        self._missing = {planned.run.run_id: set(planned.missing) for planned in plan.todo}
        self._waiting: list[tuple[Job, ShardResult, dict[int, str]]] = []
        self._since = 0.0

    def add(self, job: Job, result: ShardResult) -> None:
        """Take the result of a job; it is committed with others, soon.

        Raises:
            DatasetError: if an image has changed since it was first read, or cannot be decoded and that is an error.
        """
        identity = job.dataset.dataset_id
        if identity not in self._contents:
            self._contents[identity] = known_contents(self._store, identity)
        known = self._contents[identity]
        keys = {index: job.dataset.samples[index].key for index in result.contents}
        new = {sample: value for sample, value in result.contents.items() if sample not in known}
        try:
            check_contents(known, result.contents, keys)
            self._check_strict(result)
        except BaseException:
            for shard in result.shards:
                shard.drop_files(self._store.files)
            raise
        if result.shards:
            known.update(new)
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append((job, result, new if result.shards else {}))
        self.commit_if_due()

    @property
    def seconds_left(self) -> float:
        """Seconds until a commit is due."""
        return max(0.0, self._since + SECONDS_AT_ONCE - time.monotonic()) if self._waiting else SECONDS_AT_ONCE

    def commit_if_due(self) -> None:
        """Commit what is waiting if it is much, or has waited long enough."""
        if sum(len(result.shards) for _, result, _ in self._waiting) >= SHARDS_AT_ONCE or not self.seconds_left:
            self.commit()

    def commit(self) -> None:
        """Commit what is waiting, in one transaction."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._commit(waiting)
        for job, result, _ in waiting:
            for planned in job.runs:
                if planned.model.model_id in result.errors:
                    self._failed(planned, result.errors[planned.model.model_id])
        self._publisher.store_ready()

    def _commit(self, waiting: list[tuple[Job, ShardResult, dict[int, str]]]) -> None:
        contents: dict[str, dict[int, str]] = {}
        for job, _, new in waiting:
            if new:
                contents.setdefault(job.dataset.dataset_id, {}).update(new)
        shards = [shard for _, result, _ in waiting for shard in result.shards]
        runs = {planned.run.run_id: planned.run for job, _, _ in waiting for planned in job.runs}
        heads = {p.model.title: p.model.head for job, _, _ in waiting for p in job.runs if p.model.head is not None}

        def check_heads(connection: duckdb.DuckDBPyConnection) -> None:
            """What a deleted head gave must not be stored."""
            for title, head in heads.items():
                check_unchanged(connection, head.fitted_on, title)

        won = commit_shards(
            self._store,
            shards,
            contents=contents,
            replace=self._plan.replace,
            runs=runs,
            driver=self._driver,
            check=check_heads,
        )
        for shard, is_won in zip(shards, won, strict=True):
            if is_won:
                self._report.images += shard.n_samples
                self._report.failures += len(shard.failures)
                self._report.by_pillow += shard.n_by_pillow or 0
            self._display.advance(shard.run_id, shard.n_samples, len(shard.failures))
            self._missing[shard.run_id].discard(shard.shard)
        for job, result, _ in waiting:
            for failure in result.shards[0].failures[:SHOWN_FAILURES] if result.shards else ():
                self._display.log(f"cannot decode {job.dataset.name}/{failure.key}: {failure.error}")
            if job.condition.resolution is not None:
                self._forget_unsupported(job, result)
        complete = [run_id for run_id in dict.fromkeys(shard.run_id for shard in shards) if not self._missing[run_id]]
        self._publisher.submit(complete)

    def _forget_unsupported(self, job: Job, result: ShardResult) -> None:
        """Delete records that models do not support a size, for those that have just taken it."""
        done = [p.model.model_id for p in job.runs if p.run.run_id in {shard.run_id for shard in result.shards}]
        recorded = self._store.rows(
            "select model_id, condition from unsupported where condition = ? and list_contains(?, model_id)",
            [str(job.condition), done],
        )
        for model_id, condition in recorded:
            self._store.write(partial(forget_unsupported, model_id=model_id, condition=condition))

    def _check_strict(self, result: ShardResult) -> None:
        failures: list[Any] = [failure for shard in result.shards[:1] for failure in shard.failures]
        if self._strict and failures:
            raise DatasetError(
                f"{failures[0].key} cannot be decoded, and --strict makes that an error",
                found=failures[0].error,
                hint="repair or remove the image, or leave out --strict to record and skip it",
            )
