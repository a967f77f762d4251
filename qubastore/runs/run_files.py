"""The files of a published run: one Parquet file per kind of output, in the order of the samples."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qubastore.hashing import checksum
from qubastore.lake.object_storage import DataFiles
from qubastore.runs.outputs import parquet_options, partition, schema_of

if TYPE_CHECKING:
    import pyarrow as pa


LARGEST = 256 << 20
"""Size in bytes above which another file is begun, at the end of a row group."""


ROWS_PER_GROUP = {"outputs": 65_536, "logits": 8192, "features": 8192}
"""Rows per row group of a file, which DuckDB reads in parallel. A group of 1,000 logits a sample has 32 MB."""


@dataclass(frozen=True)
class RunFile:
    """A file of a published run.

    Attributes:
        kind: Kind of output: the table that it belongs to.
        part: Its place among the files of this kind.
        path: Full name.
        n_rows: Number of rows.
        checksum: Hash of its bytes.
    """

    kind: str
    part: int
    path: str
    n_rows: int
    checksum: str


class RunFileWriter:
    """Writes the rows of one kind of output of a run, given in parts of any size, in the order of the samples.

    The bytes depend on the rows alone: not on how they are cut into parts.
    """

    def __init__(self, data: DataFiles, run_id: str, kind: str) -> None:
        self._data, self._run_id, self._kind = data, run_id, kind
        self._schema, self._group = schema_of(kind), ROWS_PER_GROUP[kind]
        self._pending: list[pa.Table] = []
        self._n_pending = 0
        self._sink: pa.BufferOutputStream | None = None
        self._writer: Any = None
        self._n_rows = 0
        self.files: list[RunFile] = []

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        import pyarrow as pa

        self._pending.append(table.cast(self._schema))
        self._n_pending += len(table)
        if self._n_pending >= self._group:
            rows = pa.concat_tables(self._pending)
            whole = len(rows) // self._group * self._group
            for first in range(0, whole, self._group):
                self._write_group(rows.slice(first, self._group))
            self._pending, self._n_pending = [rows.slice(whole)], len(rows) - whole

    def finish(self) -> list[RunFile]:
        """Write what is left; return the files.

        Raises:
            OSError: On a full disk.
        """
        import pyarrow as pa

        if self._n_pending:
            self._write_group(pa.concat_tables(self._pending))
        self._end_file()
        return self.files

    def discard(self) -> None:
        """Remove the files written so far."""
        for file in self.files:
            # A file that cannot be removed is an orphan for gc; the error to report is why it was discarded.
            with contextlib.suppress(OSError):
                self._data.remove(file.path)
        self.files = []

    def _write_group(self, rows: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._sink is None:
            self._sink = pa.BufferOutputStream()
            options = parquet_options(vectors=self._kind != "outputs")
            self._writer = pq.ParquetWriter(self._sink, self._schema, **options)
        self._writer.write_table(rows.combine_chunks(), row_group_size=self._group)
        self._n_rows += len(rows)
        if self._sink.tell() > LARGEST:
            self._end_file()

    def _end_file(self) -> None:
        if self._sink is None:
            return
        self._writer.close()
        content = bytes(self._sink.getvalue())
        name = f"run-{uuid.uuid4().hex[:12]}.parquet"
        path = self._data.path(*partition(self._kind, self._run_id), name)
        self._data.write(path, content)
        self.files.append(RunFile(self._kind, len(self.files), path, self._n_rows, checksum(content)))
        self._sink = self._writer = None
        self._n_rows = 0
