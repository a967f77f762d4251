"""The store: a DuckLake whose catalog is a SQLite file and whose tables are Parquet files.

A store is a folder: `catalog.sqlite`, `data/` with the Parquet files, and `commit.lock`, which writers hold in turn.
Readers never wait: the catalog is in write-ahead mode and every transaction sees one snapshot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore import engine, schema, views
from qubastore.boundary import translated, uninterrupted
from qubastore.errors import StoreBusyError, StoreError, StoreNotFoundError, UsageError

if TYPE_CHECKING:
    import duckdb
    import polars
    import pyarrow

T = TypeVar("T")

STORE_VARIABLE = "QUBASTORE_STORE"
DEFAULT_STORE = "store"
LOCK_TIMEOUT = 120.0
"""Seconds that a writer waits for another one before it gives up."""

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "lustre", "beegfs", "gpfs", "ceph")


def store_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the store is: `path`, else the environment's QUBASTORE_STORE, else ./store."""
    chosen = os.fspath(path) if path is not None else os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    if "://" in chosen:
        raise UsageError(
            f"{chosen} is a URL",
            expected="the path of a folder",
            hint="stores by URL are not supported by this release",
        )
    return Path(chosen)


class Store:
    """An open store. Use it as a context manager, or call `close()`.

    Example:
        >>> import qubastore
        >>> with qubastore.open("store") as store:  # doctest: +SKIP
        ...     store.sql("from accuracy").pl()
        ...     store.rank(weights={"calibration": 2})
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self.path, self.read_only = path, read_only
        self._connection = connection

    @property
    def data_path(self) -> Path:
        """The folder of the Parquet files."""
        return self.path.resolve() / "data"

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """The answer to a query, as a lazy DuckDB relation: `.pl()`, `.df()`, `.arrow()`, `.fetchall()`.

        Raises:
            QueryError: where DuckDB refuses the query.
        """
        with translated(query):
            return self._connection.sql(query, params=parameters)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer to a query as a list of tuples."""
        with translated(query):
            return self._connection.execute(query, list(parameters)).fetchall()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same database: it may put other questions meanwhile. Close it after use."""
        return self._connection.cursor()

    def execute(self, query: str) -> None:
        """Run a statement for its effect: temporary tables of this connection, mostly."""
        with translated(query):
            self._connection.execute(query)

    def write(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` in one transaction: all of it is stored, or nothing.

        DuckLake lets two transactions that only append both succeed, so writers of a store take turns: what `work`
        reads cannot change before it commits. Where the catalog is locked all the same, the transaction is rolled
        back and `work` runs again, checks included.

        Ctrl-C waits until the transaction is over.

        Raises:
            StoreError: in a read-only store, on a full disk, or where the store stays locked.
        """
        import duckdb

        if self.read_only:
            raise StoreError(f"the store {self.path} is open for reading only", hint="open it with read_only=False")
        deadline, pause = time.monotonic() + LOCK_TIMEOUT, 0.01
        with self._turn(deadline), uninterrupted(), translated():
            while True:
                try:
                    self._connection.execute("begin transaction")
                    result = work(self._connection)
                    self._connection.execute("commit")
                except BaseException as error:
                    with contextlib.suppress(duckdb.Error):
                        self._connection.execute("rollback")
                    locked = isinstance(error, duckdb.Error) and "database is locked" in str(error)
                    if not locked or time.monotonic() > deadline:
                        raise
                else:
                    return result
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def rank(self, weights: dict[str, float] | None = None, **options: Any) -> polars.DataFrame:
        """The QUBA ranking as a Polars frame, best first; `qubastore.ranking.rank` documents the options.

        Example:
            >>> store.rank(weights={"calibration": 2}, source="published").head(3)  # doctest: +SKIP
        """
        import polars

        from qubastore.ranking import rank

        ranking = rank(self, weights or {}, **options)
        return polars.DataFrame(ranking.rows, schema=list(ranking.columns), orient="row", infer_schema_length=None)

    def models(self) -> polars.DataFrame:
        """One row per measured or imported model."""
        return self.sql("from models order by name, model_id").pl()

    def runs(self) -> polars.DataFrame:
        """One row per run; the view `run_details`."""
        return self.sql("from run_details order by model, dataset, condition, precision").pl()

    def outputs(self, run: str) -> polars.DataFrame:
        """The narrow rows of a run, in sample order: label, prediction, confidence, ...

        Args:
            run: Its id, or the start of it.
        """
        return self.sql("from outputs where run_id = ? order by sample_id", [self.run_id(run)]).pl()

    def logits(self, run: str, *, batch_size: int = 1024) -> Iterator[pyarrow.RecordBatch]:
        """The kept logits of a run, streamed in sample order.

        Args:
            run: Its id, or the start of it.
            batch_size: Rows of a batch, at most.

        Yields:
            Record batches with `sample_id` int32 and `values` list<float32> (one vector of n_classes each).
        """
        yield from self._vectors("logits", run, batch_size)

    def features(self, run: str, *, batch_size: int = 1024) -> Iterator[pyarrow.RecordBatch]:
        """The kept features of a run, streamed like `logits`."""
        yield from self._vectors("features", run, batch_size)

    def run_id(self, start: str) -> str:
        """The id of the one run whose id begins with `start`.

        Raises:
            UsageError: where none does, or several do.
        """
        found = [row[0] for row in self.rows("select run_id from runs where starts_with(run_id, ?)", [start])]
        if len(found) != 1:
            raise UsageError(
                f"{len(found)} runs have an id that begins with {start!r}",
                expected="the id of one run, or the start of it",
                found=", ".join(found[:5]) or None,
                hint="qubastore show runs",
            )
        return str(found[0])

    def _vectors(self, table: str, run: str, batch_size: int) -> Iterator[pyarrow.RecordBatch]:
        # A cursor of its own: the reader may put other questions while it streams.
        cursor = self.cursor()
        try:
            cursor.execute(f"use {engine.CATALOG}")
            cursor.execute(
                f"select sample_id, values from {table} where run_id = ? order by sample_id", [self.run_id(run)]
            )
            yield from cursor.to_arrow_reader(batch_size)
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """Hold the store's lock file; the system lets go of it when the process dies, however it dies."""
        with translated(), _lock_file(self.path).open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreBusyError(
                            f"another process has kept the store {self.path} locked for {LOCK_TIMEOUT:.0f} s",
                            hint=f"see who holds it: fuser {_lock_file(self.path)}",
                        ) from None
                    time.sleep(0.005)
            yield


def init(path: str | os.PathLike[str] | None = None) -> Store:
    """Make a store and open it for writing: schema, views and the published table of the QUBA study.

    The store is made beside its place and moved there when it is whole.

    Args:
        path: Folder that is to become the store; None means QUBASTORE_STORE or ./store.

    Raises:
        StoreError: where there is something already, or the place cannot be written.
    """
    from qubastore.published import load_published

    where = store_path(path)
    if (where / "catalog.sqlite").exists():
        raise StoreError(f"there is a store at {where} already", hint=f"qubastore show runs --store {where}")
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise StoreError(f"{where} is not empty", expected="a new or empty folder", hint="choose another path")
    with translated():
        where.parent.mkdir(parents=True, exist_ok=True)
        _refuse_network_file_system(where.parent.resolve())
        new = Path(tempfile.mkdtemp(prefix=f".{where.name}-", dir=where.parent)).resolve()
    try:
        with translated():
            (new / "data").mkdir()
            new.chmod(0o777 & ~_umask())
            connection = engine.connect()
            engine.attach(connection, new / "catalog.sqlite", new / "data", read_only=False)
            # In the default journal a reader with an unfetched result makes a writer's commit fail.
            with contextlib.closing(sqlite3.connect(new / "catalog.sqlite")) as catalog:
                catalog.execute("pragma journal_mode=wal")
            connection.execute(f"call {engine.CATALOG}.set_option('data_inlining_row_limit', {engine.INLINE_ROWS})")
            with Store(new, connection, read_only=False) as store:
                store.write(lambda c: schema.migrate(c, schema.migrations(), since=0))
                store.write(_refresh_views)
                store.write(load_published)
            new.rename(where)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return open_store(where, read_only=False)


def open_store(path: str | os.PathLike[str] | None = None, *, read_only: bool = True) -> Store:
    """Open a store.

    Args:
        path: The store's folder; None means QUBASTORE_STORE or ./store.
        read_only: False to ingest, import or remove.

    Raises:
        StoreNotFoundError: where there is none.
        StoreVersionError: where it was written with another schema.
    """
    store = _attach(path, read_only=read_only)
    try:
        with translated():
            connection = store._connection
            facts = schema.store_facts(connection)
            schema.check_version(schema.schema_version(facts), schema.migrations(), str(store.path))
        if facts.get("views_hash") != views.views_hash():
            if read_only:
                with translated():
                    views.create_views(connection, temporary=True)
            else:
                store.write(_refresh_views)
    except BaseException:
        store.close()
        raise
    return store


def migrate(path: str | os.PathLike[str] | None = None) -> tuple[int, int]:
    """Bring a store's schema to this release's version, in one transaction; return the versions before and after."""
    with _attach(path, read_only=False) as store:
        steps = schema.migrations()
        with translated():
            before = schema.schema_version(schema.store_facts(store._connection))
        if before > max(steps):
            schema.check_version(before, steps, str(store.path))

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            return schema.migrate(connection, steps, since=before)

        after = store.write(work) if before < max(steps) else before
        store.write(_refresh_views)
        return before, after


def _attach(path: str | os.PathLike[str] | None, *, read_only: bool) -> Store:
    where = store_path(path)
    catalog = where / "catalog.sqlite"
    if not catalog.is_file():
        raise StoreNotFoundError(
            f"there is no store at {where}",
            expected="a folder with catalog.sqlite in it",
            hint=f"qubastore init --store {where}",
        )
    connection = engine.connect()
    with translated():
        if not read_only:
            _lock_file(where).open("a").close()
        engine.attach(connection, catalog.resolve(), where.resolve() / "data", read_only=read_only)
    return Store(where, connection, read_only=read_only)


def _lock_file(where: Path) -> Path:
    return where / "commit.lock"


def _refresh_views(connection: duckdb.DuckDBPyConnection) -> None:
    views.create_views(connection)
    connection.execute("delete from store_info where key = 'views_hash'")
    connection.execute("insert into store_info values ('views_hash', ?)", [views.views_hash()])


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _refuse_network_file_system(path: Path) -> None:
    """SQLite's locks cannot be trusted on network file systems."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return
    fields = [line.split() for line in mounts.read_text().splitlines()]
    inside = [(point, kind) for _, point, kind, *_ in fields if path.is_relative_to(point)]
    kind = max(inside, key=lambda mount: len(mount[0]))[1] if inside else ""
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise StoreError(
            f"{path} lies on a network file system ({kind})",
            expected="a local disk: the SQLite catalog needs locks that network file systems do not keep",
            hint="qubastore init --store /local/path",
        )
