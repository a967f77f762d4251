"""Preparing the publication of a run: its files, its sums and its metrics, in one pass over its shards.

Nothing here needs the catalog when all shards are staged, so that workers on other machines can do it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qubastore.datasets.label_spaces import label_space
from qubastore.hashing import checksum
from qubastore.lake.object_storage import DataFiles
from qubastore.runs.image_sets import ImageSet
from qubastore.runs.outputs import schema_of
from qubastore.runs.replicates import ReplicateRow, standard_rows
from qubastore.runs.run_files import RunFile, RunFileWriter
from qubastore.runs.summaries import Summary, summarise
from qubastore.runs.transforms import MetricRow, no_transforms, transformed
from qubastore.runs.unpublished import CommittedShard, UnpublishedRun
from qubastore.statistics.class_logits import class_logits

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


ReadRows = Callable[[str, str, int, int], "pa.Table"]
"""Reads the published rows of a run and a kind of output, for samples `first` to `end` - 1, in order."""


_SAMPLES_AT_ONCE = 8192


@dataclass(frozen=True)
class Damage:
    """A shard whose rows cannot be read, so that it has to be evaluated again."""

    run_id: str
    shard: int
    file: str
    found: str


@dataclass(frozen=True)
class Publication:
    """What publishing a run stores; nothing of it is visible yet.

    Attributes:
        run: The run, as it was when its shards were read.
        files: Its new files; none if its published files stay.
        summary: Its counts and sums; None if shards are damaged, or if only its files are written anew.
        metrics: Its metrics from kept logits.
        replicates: Its bootstrap replicates, if they were asked for.
        predictions: For a run with shapes and textures, its labels and predictions.
        damaged: Shards whose rows cannot be read.
    """

    run: UnpublishedRun
    files: tuple[RunFile, ...] = ()
    summary: Summary | None = None
    metrics: tuple[MetricRow, ...] = ()
    replicates: tuple[ReplicateRow, ...] = ()
    predictions: pa.Table | None = None
    damaged: tuple[Damage, ...] = ()


def prepare(
    run: UnpublishedRun,
    data: DataFiles,
    read: ReadRows | None = None,
    *,
    only_files: bool = False,
    images: ImageSet | None = None,
    confidences: bool = False,
) -> Publication:
    """Merge a run's shards into its files, and compute its sums and metrics.

    For the same shards the files have the same bytes, and the sums and metrics the same bits.

    Args:
        run: The run.
        data: The store's files.
        read: Reads published rows; needed if some rows are not staged.
        only_files: Write the files of a published run anew; its sums and metrics stay as they are.
        images: The images of its dataset, to compute the bootstrap replicates of its accuracy, too.
        confidences: And those of its calibration errors and class balance, if it has logits.

    Raises:
        OSError: On a full disk, or if an object store cannot be reached.
    """
    merger = _Merger(run, data, read, rewrite=only_files or bool(run.staged_files))
    logits: NDArray[np.float32] | None = None
    try:
        rows = merger.rows("outputs")
        metrics = no_transforms(run.run_id)
        for kind in run.kinds[1:]:
            if merger.damaged or only_files:
                merger.copy(kind)
            elif kind == "logits" and all(kind in shard.kept for shard in run.shards):
                logits = merger.matrix(kind)
                if not rows.column("label").null_count:
                    metrics = transformed(run.run_id, logits, _labels(rows), label_space(run.label_space))
            else:
                merger.copy(kind)
        if merger.damaged:
            merger.discard()
            return Publication(run, damaged=tuple(merger.damaged))
    except BaseException:
        merger.discard()
        raise
    if only_files:
        return Publication(run, tuple(merger.files))
    replicates: list[ReplicateRow] = []
    if images is not None:
        own = None if logits is None or not confidences else class_logits(logits, label_space(run.label_space))
        replicates = standard_rows(run.run_id, images, rows, own)
    predictions = rows.select(["run_id", "sample_id", "label", "prediction"]) if run.has_cues else None
    summary = summarise(run.run_id, rows, run.n_failed)
    return Publication(run, tuple(merger.files), summary, tuple(metrics), tuple(replicates), predictions)


def _labels(rows: pa.Table) -> NDArray[np.int32]:
    import numpy as np

    return np.asarray(rows.column("label").to_numpy(), np.int32)


class _Merger:
    """Reads the rows of a run shard by shard and, if asked to, writes them to the run's files."""

    def __init__(self, run: UnpublishedRun, data: DataFiles, read: ReadRows | None, *, rewrite: bool) -> None:
        self._run, self._data, self._read, self._rewrite = run, data, read, rewrite
        self.files: list[RunFile] = []
        self.damaged: list[Damage] = []

    def rows(self, kind: str) -> pa.Table:
        """Merge a kind of output, and return its rows."""
        import pyarrow as pa

        schema = schema_of(kind)
        return pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in self._merged(kind))])

    def matrix(self, kind: str) -> NDArray[np.float32]:
        """Merge a kind of output that every shard kept, and return its vectors: (n, width) float32."""
        import numpy as np

        matrix, row = np.empty((0, 0), np.float32), 0
        for table in self._merged(kind):
            if not len(table):
                continue
            vectors = table.column("values").combine_chunks()
            if not matrix.size:
                n = sum(shard.n_outputs for shard in self._run.shards)
                matrix = np.empty((n, len(vectors.flatten()) // len(table)), np.float32)
            flat = vectors.flatten().to_numpy(zero_copy_only=False)
            matrix[row : row + len(table)] = flat.reshape(len(table), matrix.shape[1])
            row += len(table)
        return matrix

    def copy(self, kind: str) -> None:
        """Merge a kind of output."""
        if self._rewrite:
            for _ in self._merged(kind):
                pass

    def discard(self) -> None:
        """Remove the files written so far; one that cannot be removed is an orphan for gc."""
        for file in self.files:
            with contextlib.suppress(OSError):
                self._data.remove(file.path)
        self.files = []

    def _merged(self, kind: str) -> Iterator[pa.Table]:
        """The rows of a kind of output in order, each part written once the next one is asked for."""
        writer = RunFileWriter(self._data, self._run.run_id, kind) if self._rewrite else None
        try:
            for table in self._parts(kind):
                yield table
                if writer is not None and not self.damaged:
                    writer.add(table)
            if writer is not None and not self.damaged:
                self.files += writer.finish()
        except BaseException:
            if writer is not None:
                writer.discard()
            raise
        if writer is not None and self.damaged:
            writer.discard()

    def _parts(self, kind: str) -> Iterator[pa.Table]:
        if not (self._rewrite or self._run.is_staged):
            for first in range(0, self._run.shards[-1].end, _SAMPLES_AT_ONCE):
                yield self._published(kind, first, first + _SAMPLES_AT_ONCE)
            return
        for shard in self._run.shards:
            if kind not in shard.kept or not shard.n_outputs:
                continue
            table = self._staged(shard, kind) if shard.staged else self._published(kind, shard.first, shard.end)
            if table is None:
                continue
            if len(table) != shard.n_outputs:
                found = f"{len(table)} rows of {kind}, where {shard.n_outputs} were committed"
                self._damage(shard, shard.staged.get(kind, ""), found)
                continue
            yield table

    def _published(self, kind: str, first: int, end: int) -> pa.Table:
        assert self._read is not None, "published rows are read through the catalog"
        return self._read(self._run.run_id, kind, first, end)

    def _staged(self, shard: CommittedShard, kind: str) -> pa.Table | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = shard.staged[kind]
        try:
            content = self._data.read(self._data.path(file))
        except FileNotFoundError:
            self._damage(shard, file, "it is missing")
            return None
        if checksum(content) != shard.checksums.get(kind):
            self._damage(shard, file, "it does not have the bytes that it was committed with")
            return None
        return pq.read_table(pa.BufferReader(content))

    def _damage(self, shard: CommittedShard, file: str, found: str) -> None:
        if all(known.shard != shard.shard for known in self.damaged):
            self.damaged.append(Damage(self._run.run_id, shard.shard, file, found))
