"""The rows of runs that are published or still staged: reading them shard by shard, and comparing two stores."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore.errors import StoreError
from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.lake.rows import insert
from qubastore.runs import outputs

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


T = TypeVar("T")


def rows_of_shard(store: Database, run_id: str, shard: int, first: int, end: int) -> dict[str, pa.Table]:
    """Kind of output -> its rows for a shard of samples `first` to `end` - 1, as an evaluator writes them."""
    import pyarrow as pa

    staged = _staged(store, run_id, [shard])
    found = {}
    for kind in outputs.KINDS:
        if (shard, kind) in staged:
            table = _read(store, staged[shard, kind])
        elif staged:
            table = outputs.schema_of(kind).empty_table()
        else:
            table = store.arrow(
                f"from {kind} where run_id = ? and sample_id >= ? and sample_id < ? order by sample_id",
                [run_id, first, end],
            )
        found[kind] = pa.table({name: table.column(name).combine_chunks() for name in table.column_names})
    return found


def _staged(store: Database, run_id: str, shards: Sequence[int]) -> dict[tuple[int, str], str]:
    """(Shard, kind) -> staged file, of the shards whose run is not published yet."""
    query = "select shard, kind, file from staged_files where run_id = ? and list_contains(?, shard)"
    return {(shard, kind): file for shard, kind, file in store.rows(query, [run_id, list(shards)])}


def _read(store: Database, file: str) -> pa.Table:
    """The rows of a staged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(store.files.read(store.files.path(file))))


def twice(read: Callable[[], T], store: Database) -> T:
    """The result of a reader of staged files; once more if an ingest published their run in the meantime.

    Raises:
        StoreError: if a staged file is missing.
    """
    for _ in range(2):
        try:
            return read()
        except FileNotFoundError as error:
            missing = error
    raise StoreError(
        f"a file of {store.location} is missing",
        found=str(missing),
        hint=f"qubastore doctor --store {shlex.quote(str(store.location))}",
    )


def fingerprint(store: Database, table: str, run_id: str, shards: Sequence[int] | None) -> tuple[int, Any]:
    """The number of rows of some shards of a run, or of all if None, and a hash of them whatever their order."""
    query = f"select count(*), coalesce(bit_xor(hash(t)), 0) from {table} as t where run_id = ?"
    values: list[Any] = [run_id]
    staged: dict[tuple[int, str], str] = {}
    if shards is None:
        shards = [row[0] for row in store.rows("select shard from shards where run_id = ?", [run_id])]
    if not table.endswith("summary"):
        size = store.rows("select shard_size from runs where run_id = ?", [run_id])[0][0]
        staged = {key: file for key, file in _staged(store, run_id, shards).items() if key[1] == table}
        query += f" and list_contains(?, sample_id // {int(size)})"
        # Rows of a shard that was staged again are replaced when its run is published.
        values.append(sorted(set(shards) - {shard for shard, _ in staged}))
    n, found = store.rows(query, values)[0]
    for file in staged.values():
        rows = _read(store, file)
        more = store.ask(partial(_hashed, rows=rows))
        n, found = n + more[0], found ^ more[1]
    return n, found


def _hashed(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> tuple[int, int]:
    connection.register("staged_rows", rows)
    try:
        found = connection.execute("select count(*), coalesce(bit_xor(hash(t)), 0) from staged_rows as t").fetchone()
    finally:
        connection.unregister("staged_rows")
    assert found is not None
    return found[0], found[1]


def shards_fit(
    source: Database, target: Database, run_id: str, kinds: set[str], have: Mapping[int, Sequence[str]]
) -> bool:
    """Whether a run's shards can be copied; if not, the target has it in shards of another size, and needs none.

    Args:
        source: The store to read.
        target: A store open for writing.
        run_id: The run.
        kinds: Kinds of output in the source.
        have: Shard -> kinds of output in the target.

    Raises:
        StoreError: If the target has a part of the run in shards of another size.
    """
    query = "select shard_size, n_shards from runs where run_id = ?"
    (size, n_shards), (there, n_there) = source.rows(query, [run_id])[0], target.rows(query, [run_id])[0]
    if size == there:
        return True
    if not kinds:
        return False  # nothing of it is done in the source
    if not have:
        # It is planned there, and nothing of it is done.
        change = "update runs set shard_size = ?, n_shards = ? where run_id = ?"
        target.write(lambda c: c.execute(change, [size, n_shards, run_id]), repeatable=True)
        return True
    if len(have) == n_there and all(kinds <= set(kept) for kept in have.values()):
        return False
    raise StoreError(
        f"run {run_id} is begun in {target.location} with shards of {there} samples",
        expected=f"shards of {size} samples, as in {source.location}, or the whole run",
        hint=f"finish it there, or qubastore rm run {run_id} --store {shlex.quote(str(target.location))};"
        " then copy again",
    )


def summarised_at(store: Database) -> dict[str, datetime]:
    """Run -> when its summary was computed, which identifies what was published."""
    return dict(store.rows("select run_id, computed_at from run_summary"))


def copy_replicates(source: Database, target: Database, compared: Mapping[str, datetime]) -> None:
    """Copy the bootstrap replicates of runs, where the target has none.

    Args:
        source: The store to read.
        target: A store open for writing.
        compared: Run -> when its summary was computed that was there before its rows were compared.
    """
    runs = sorted(compared)
    for first in range(0, len(runs), _RUNS_AT_ONCE):
        some = is_one_of("run_id", runs[first : first + _RUNS_AT_ONCE])
        found = source.rows(
            f"""
            select computed_at, replicates.* from replicates join run_summary using (run_id)
            where {some} order by run_id, metric
            """
        )
        kept = [row for at, *row in found if compared[row[0]] == at]

        def work(connection: duckdb.DuckDBPyConnection, some: str = some, kept: Sequence[Any] = kept) -> None:
            summarised = connection.execute(f"select run_id from run_summary where {some}").fetchall()
            complete = {run_id for (run_id,) in summarised}
            there = set(connection.execute(f"select run_id, metric from replicates where {some}").fetchall())
            insert(
                connection, "replicates", [row for row in kept if row[0] in complete and (row[0], row[1]) not in there]
            )

        if kept:
            target.write(work, repeatable=True)


_RUNS_AT_ONCE = 256
"""Number of runs whose replicates are in memory at a time."""
