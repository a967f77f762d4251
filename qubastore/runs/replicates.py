"""Replicates: the figures of a run in each of many resamples of its images, computed once and kept.

A resample is a bootstrap sample of a set of images (`Draws`). Resample i depends on the seed, the set of images and i
alone, so the first replicates of a long series are those of a shorter one, and replicates of several models over the
same images are paired. Only one standard series is kept: 1,000 resamples with seed 0. For another seed or a larger
number, replicates are computed each time, as are those of runs whose images are composed of parts that occur in several
images, which are not drawn one by one.

A run's replicates belong to its published outputs: what deletes or replaces its summary deletes them in the same
transaction (`qubastore.runs.removal`). They are stored only if the summary is still the one that was there before the
outputs were read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qubastore.errors import QubastoreError, StoreError
from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.lake.rows import insert
from qubastore.metrics.catalogue import METRICS
from qubastore.runs.image_sets import ImageSet, ImageSets
from qubastore.runs.resampled import Confidences, Hits, hits_of
from qubastore.statistics.bootstrap import Draws, shares
from qubastore.statistics.options import RESAMPLES, SEED, BootstrapOptions

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


DESIGN = 1
"""Version of the way in which resamples are drawn (`Draws.of`) and images are numbered (`ImageSet.of`)."""


PATIENCE = 5.0
"""Seconds to wait for another writer before computed replicates are not kept."""


RUNS_AT_ONCE = 2048
"""Number of runs whose replicates are read with one query."""


VERSIONS = {metric.name: metric.version for metric in METRICS if metric.over == "run"}
"""Metric of a run -> this release's version."""


ReplicateRow = tuple[str, str, int, int, int, str, int, "NDArray[np.float64]"]
"""A row of the table `replicates`."""


@dataclass(frozen=True)
class SummarisedRun:
    """A published run, as its summary describes it.

    Attributes:
        run_id: The run.
        dataset_id: Its dataset.
        n_outputs: Number of samples with outputs.
        n_correct: Number of samples that were classified correctly.
        computed_at: When the summary was computed, which identifies it.
    """

    run_id: str
    dataset_id: str
    n_outputs: int
    n_correct: int | None
    computed_at: datetime

    @property
    def accuracy(self) -> float:
        """Share of its samples that were classified correctly; NaN if there are none."""
        return self.n_correct / self.n_outputs if self.n_correct is not None and self.n_outputs else math.nan


def standard_rows(
    run_id: str, images: ImageSet, outputs: pa.Table, logits: NDArray[np.float32] | None
) -> list[ReplicateRow]:
    """The replicates of a run that is being published, to be stored with it.

    Args:
        run_id: The run.
        images: The set of its dataset's images.
        outputs: All its rows of the table `outputs`, by sample.
        logits: (n, n_classes) logits of its dataset's classes; None means that only the accuracy is resampled.

    Returns:
        No rows for images that are not drawn one by one, without labels, and for outputs that do not correspond to the
        classes.
    """
    import numpy as np

    if images.is_crossed or not len(outputs) or any(outputs.column(n).null_count for n in ("prediction", "label")):
        return []
    names = ("sample_id", "label", "prediction", "confidence", "label_probability")
    samples, label, prediction, confidence, truth = (outputs.column(name).to_numpy() for name in names)
    draws = _standard_draws(len(images), images.number).at(images.position[samples])
    hit = prediction == label
    figures = {"accuracy": shares(hit[None], draws)[0]}
    if logits is not None:
        figures |= Confidences(samples, hit, np.asarray(confidence, float), label, truth, logits).figures(draws)
    return [_row(run_id, name, images, len(samples), values) for name, values in figures.items()]


@lru_cache(maxsize=2)
def _standard_draws(n: int, number: int) -> Draws:
    """The standard draws of a set of n images: 50 MB for 50,000, so that few are kept in memory."""
    return Draws.of(n, RESAMPLES, SEED, number)


def _row(run_id: str, metric: str, images: ImageSet, n_samples: int, values: NDArray[np.float64]) -> ReplicateRow:
    return run_id, metric, VERSIONS[metric], DESIGN, SEED, _name(images), n_samples, values


def _name(images: ImageSet) -> str:
    return f"{images.number:08x}:{len(images)}"


class Replicates:
    """The replicates of runs: read from the store, or computed and then kept there if they are of the standard series.

    Args:
        store: An open store, which may be open for reading only: for keeping replicates, it is opened once more.
        options: Number of resamples and seed.
        sets: The image sets of the store's datasets, with the same seed.

    Attributes:
        not_kept: Why computed replicates could not be kept; None if they were.
    """

    def __init__(self, store: Database, options: BootstrapOptions, sets: ImageSets) -> None:
        self._store, self._sets, self._wanted = store, sets, options.resamples
        self._is_standard = options.seed == SEED and options.resamples <= RESAMPLES
        self._found: dict[str, dict[str, NDArray[np.float64]]] = {}
        self._new: list[tuple[datetime, ReplicateRow]] = []
        self.not_kept: QubastoreError | None = None

    @property
    def resamples(self) -> int:
        """Number of resamples to compute: the standard number if they can be kept."""
        return RESAMPLES if self._is_standard and self.not_kept is None else self._wanted

    def read(self, runs: Sequence[SummarisedRun]) -> None:
        """Read the kept replicates of runs, with one query for many: each query reads the catalog."""
        new = {run.run_id: run.n_outputs for run in runs if run.run_id not in self._found}
        ids = sorted(new)
        self._found |= {run_id: {} for run_id in ids}
        if not self._is_standard:
            return
        for first in range(0, len(ids), RUNS_AT_ONCE):
            try:
                for run_id, metric, n_samples, values in self._stored(ids[first : first + RUNS_AT_ONCE]):
                    if n_samples == new[run_id]:
                        self._found[run_id][metric] = values
            except QubastoreError as error:
                # A lost file of what can be computed again: the doctor removes it.
                self.not_kept = error
                return

    def _stored(self, runs: Sequence[str]) -> Iterator[tuple[str, str, int, NDArray[np.float64]]]:
        """The replicates of runs in this release's versions; their first ones, as many as are wanted."""
        import numpy as np

        answer = self._store.arrays(
            f"""
            select run_id, metric, metric_version, n_samples, values
            from replicates
            where design = {DESIGN} and seed = {SEED} and {is_one_of("run_id", runs)}
            """
        )
        for run_id, metric, version, n_samples, values in zip(*answer.values(), strict=True):
            if version == VERSIONS.get(metric) and len(values) == RESAMPLES:
                yield run_id, metric, int(n_samples), np.asarray(values)[: self._wanted]

    def has(self, run: SummarisedRun, metrics: Sequence[str]) -> bool:
        """Whether the replicates of a run are known; if not, its outputs have to be read and resampled."""
        self.read([run])
        return all(metric in self._found[run.run_id] for metric in metrics)

    def accuracies(self, runs: Sequence[SummarisedRun]) -> dict[str, NDArray[np.float64]]:
        """Run -> (n_resamples,) accuracies, for those of `runs` whose images are drawn one by one."""
        self.read(runs)
        missing = [
            run
            for run in {run.run_id: run for run in runs}.values()  # a run may have several roles
            if "accuracy" not in self._found[run.run_id] and not self._sets.of(run.dataset_id).is_crossed
        ]
        hits = hits_of(self._store, [run.run_id for run in missing])
        found = self.shares({run.run_id: run.dataset_id for run in missing}, hits)
        for run in missing:
            self._add(run, {"accuracy": found[run.run_id]})
        return {run.run_id: self._found[run.run_id]["accuracy"] for run in runs if self.has(run, ["accuracy"])}

    def shares(self, datasets: Mapping[str, str], hits: Mapping[str, Hits]) -> dict[str, NDArray[np.float64]]:
        """The share of hits of runs over images drawn one by one, in as many resamples as are computed.

        Args:
            datasets: Run -> its dataset.
            hits: Run -> samples and hits.
        """
        import numpy as np

        whole: dict[tuple[int, int], list[tuple[str, NDArray[np.bool_]]]] = {}
        found = {}
        for run_id, dataset_id in datasets.items():
            samples, hit = hits[run_id]
            images = self._sets.of(dataset_id)
            if len(samples) == len(images):
                # Runs over the same images become one matrix, which is multiplied once.
                placed = np.empty(len(samples), bool)
                placed[images.position[samples]] = hit
                whole.setdefault((images.number, len(images)), []).append((run_id, placed))
            else:
                found[run_id] = shares(hit[None], self._sets.draws_of(dataset_id, samples, self.resamples))[0]
        for key, members in whole.items():
            of_all = shares(np.array([hit for _, hit in members]), self._sets.draws(*key, self.resamples))
            found.update({run_id: share for (run_id, _), share in zip(members, of_all, strict=True)})
        return found

    def confidence(self, run: SummarisedRun, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]] | None:
        """Those of ECE, class balance and ACE of a run; None if its images are not drawn one by one."""
        if not self.has(run, metrics):
            if self._sets.of(run.dataset_id).is_crossed:
                return None
            outputs = Confidences.of(self._store, run.run_id, with_logits="ace" in metrics)
            draws = self._sets.draws_of(run.dataset_id, outputs.samples, self.resamples)
            self._add(run, outputs.figures(draws))
        return {metric: self._found[run.run_id][metric] for metric in metrics}

    def _add(self, run: SummarisedRun, figures: Mapping[str, NDArray[np.float64]]) -> None:
        images = self._sets.of(run.dataset_id)
        for metric, values in figures.items():
            self._found[run.run_id][metric] = values[: self._wanted]
            if self._is_standard and len(values) == RESAMPLES:
                self._new.append((run.computed_at, _row(run.run_id, metric, images, run.n_outputs, values)))

    def keep(self) -> None:
        """Store what was computed since the last call, if the store can be written to."""
        new, self._new = self._new, []
        if not new or self.not_kept is not None:
            return
        if find_spec("pyarrow") is None:
            # Who only asks does without it.
            self.not_kept = StoreError("replicates cannot be kept without pyarrow", hint="pip install pyarrow")
            return
        try:
            if not self._store.read_only:
                _keep(self._store, new)
                return
            # A question leaves the views as they are, and does not wait long for a writer.
            with Database.open(self._store.location, read_only=False, refresh=False) as store:
                _keep(store, new)
        except StoreError as error:
            self.not_kept = error


def _keep(store: Database, new: Sequence[tuple[datetime, ReplicateRow]]) -> None:
    """Store replicates of runs whose summary is still the one that was computed at the given time."""
    some = is_one_of("run_id", sorted({row[0] for _, row in new}))

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        now: dict[str, Any] = dict(
            connection.execute(f"select run_id, computed_at from run_summary where {some}").fetchall()
        )
        # A metric that is undefined for a run, for example without probabilities, has no replicates either.
        query = f"select run_id, metric from run_metrics where value is not null and {some}"
        defined = set(connection.execute(query).fetchall())
        query = f"select run_id, metric, * exclude (run_id, metric, values), len(values) from replicates where {some}"
        there = {(run_id, metric): tuple(key) for run_id, metric, *key in connection.execute(query).fetchall()}
        rows = [
            row
            for at, row in new
            if now.get(row[0]) == at and row[:2] in defined and there.get(row[:2]) != (*row[2:-1], RESAMPLES)
        ]
        for run_id, metric, *_ in rows:
            if (run_id, metric) in there:  # of an earlier release's version
                connection.execute("delete from replicates where run_id = ? and metric = ?", [run_id, metric])
        insert(connection, "replicates", rows)

    store.write(work, repeatable=True, patience=PATIENCE)
