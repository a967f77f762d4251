"""The store: a DuckLake, that is a catalog (a SQLite file or PostgreSQL) and tables in Parquet files (a folder or S3).

On a laptop a store is a folder: `catalog.sqlite`, `data/` with the Parquet files, and `commit.lock`, which writers hold
in turn. For several machines it is a URL (`qubastore.location`). Readers never wait: a transaction sees one snapshot.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore import engine, fence, schema, views
from qubastore.attachments import Attachment, Beside
from qubastore.attachments import noted as noted_attachments
from qubastore.boundary import translated, uninterrupted
from qubastore.dimensions import DIMENSIONS
from qubastore.errors import StoreError, StoreNotFoundError, UsageError
from qubastore.files import PATIENCE, DataFiles
from qubastore.location import Location, locate
from qubastore.published import SOURCE, read_table
from qubastore.turns import LOCK_TIMEOUT, STANDING_STILL, AdvisoryTurn, FileTurn, Turn

if TYPE_CHECKING:
    import duckdb
    import polars
    import pyarrow

T = TypeVar("T")

_DOUBTS = 5
"""Times that a transaction is tried again after an error that a broken connection may have caused."""

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "lustre", "beegfs", "gpfs", "ceph")


class Store:
    """An open store. Use it as a context manager, or call `close()`.

    Example:
        >>> import qubastore
        >>> with qubastore.open("store") as store:  # doctest: +SKIP
        ...     store.sql("from accuracy").pl()
        ...     store.rank(weights={"calibration": 2})
    """

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self.location, self.read_only = location, read_only
        self.files = DataFiles(location.data)
        self._connection = connection
        self._turn: Turn | None = None
        self._fenced = False
        self.attachments: tuple[Attachment, ...] = ()
        self.beside = Beside()

    @property
    def path(self) -> Path:
        """The folder of a store that is one.

        Raises:
            UsageError: where the store is at a URL.
        """
        if self.location.folder is None:
            raise UsageError(f"the store {self.location} is no folder")
        return self.location.folder

    @property
    def data_path(self) -> Path:
        """The folder of the Parquet files of a store that is a folder; `files` works for every store."""
        return self.path.resolve() / "data"

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        if isinstance(self._turn, AdvisoryTurn):
            self._turn.close()
        engine.close(self._connection, self.location)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """The answer to a query, as a lazy DuckDB relation: `.pl()`, `.df()`, `.arrow()`, `.fetchall()`.

        Raises:
            QueryError: where DuckDB refuses the query.
        """
        self.reach(query)
        with translated(query):
            return self._connection.sql(query, params=parameters)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer to a query as a list of tuples."""
        self.reach(query)
        with translated(query):
            return self._again(lambda: self._connection.execute(query, list(parameters)).fetchall())

    def reach(self, query: str) -> None:
        """Have what is attached ready, as far as a query names it, for this connection.

        Raises:
            StoreError: where it cannot be reached, or is not what it was.
        """
        if self.attachments:
            from qubastore.beside import reach

            reach(self, query)

    def gather(self, source: str = "all") -> None:
        """Have the figures of what is attached ready in `memory.main`, for rankings.

        Args:
            source: Which of them, as in `ranking.rank`.

        Raises:
            StoreError: where they cannot be had.
        """
        if self.attachments:
            from qubastore.beside import gather

            gather(self, source)

    def fence(self) -> None:
        """Keep questions inside from now on: no other files, databases or extensions. `check` each before it is put.

        What is attached can be reached afterwards as far as it was before.
        """
        with translated():
            fence.put_up(self._connection, [f"{self.location.data}/", *self.beside.folders], self.beside.files)
        self._fenced = True

    def check(self, statement: duckdb.Statement) -> None:
        """Refuse a statement that reaches outside, in a store with a fence.

        Raises:
            QueryError: naming the function that does.
        """
        if self._fenced:
            with translated(statement.query):
                fence.check(self._connection, statement)

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Have a function put questions to the connection; `rows` is for a single one."""
        with translated():
            return self._again(lambda: question(self._connection))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same database: it may put other questions meanwhile. Close it after use."""
        return self._connection.cursor()

    def execute(self, query: str) -> None:
        """Run a statement for its effect: temporary tables of this connection, mostly."""
        with translated(query):
            self._connection.execute(query)

    def write(self, work: Callable[[duckdb.DuckDBPyConnection], T], *, repeatable: bool = False) -> T:
        """Run `work` in one transaction: all of it is stored, or nothing.

        DuckLake lets two transactions that only append both succeed, so writers of a store take turns: what `work`
        reads cannot change before it commits. Where the catalog is locked all the same, the transaction is rolled
        back and `work` runs again, checks included. Where the catalog's server goes away, it is waited for; work that
        may have been committed by then runs again only if it is `repeatable`.

        Ctrl-C waits until the transaction is over.

        Args:
            work: What to do, with a connection in a transaction.
            repeatable: Whether `work` may run again after it took effect: it checks what is there.

        Raises:
            StoreError: in a read-only store, on a full disk, or where the store stays locked or out of reach.
        """
        import duckdb

        if self.read_only:
            raise StoreError(f"the store {self.location} is open for reading only", hint="open it with read_only=False")
        deadline, pause, doubts = time.monotonic() + LOCK_TIMEOUT, 0.01, 0
        with translated():
            while True:
                sent = False
                try:
                    turn = self._take_turn()
                    with turn.held(deadline), uninterrupted():
                        try:
                            self._connection.execute("begin transaction")
                            turn.enter(self._connection)
                            result = work(self._connection)
                            turn.confirm()
                            sent = True
                            self._connection.execute("commit")
                        except BaseException:
                            with contextlib.suppress(duckdb.Error):
                                self._connection.execute("rollback")
                            raise
                        return result
                except duckdb.Error as error:
                    lost = self.location.is_postgres and engine.is_lost(error)
                    waits = STANDING_STILL in str(error)
                    if (
                        self.location.is_postgres
                        and not (lost or waits)
                        and doubts < _DOUBTS
                        and engine.may_be_lost(error)
                    ):
                        lost, doubts = True, doubts + 1
                    again = waits or "database is locked" in str(error) or (lost and (repeatable or not sent))
                    if lost and not again:
                        raise StoreError(
                            f"the connection to {self.location} broke while something was committed",
                            found="nobody can tell whether it took effect",
                            hint="run the same command again: it sees what is there",
                        ) from None
                    if not again or time.monotonic() > deadline:
                        raise
                if lost:
                    self._reconnect(deadline)
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

    def _take_turn(self) -> Turn:
        if self._turn is None:
            if self.location.is_postgres:
                self._turn = AdvisoryTurn(self._connection, self.location)
            else:
                self._turn = FileTurn(_lock_file(self.location))
        return self._turn

    def _again(self, ask: Callable[[], T]) -> T:
        """Put a question; where the catalog's server went away, wait for it and ask again."""
        import duckdb

        try:
            return ask()
        except duckdb.Error as error:
            if not (self.location.is_postgres and engine.is_lost(error)):
                raise
        self._reconnect(time.monotonic() + PATIENCE)
        return ask()

    def _reconnect(self, deadline: float) -> None:
        """A new connection in place of one that broke, as soon as the server is there.

        Raises:
            StoreError: where it is not there by the deadline.
        """
        import duckdb

        pause = 0.1
        while True:
            try:
                fresh = _connected(self.location, read_only=self.read_only)
                break
            except (StoreError, duckdb.Error) as error:
                if time.monotonic() > deadline or not engine.is_lost(error):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        if isinstance(self._turn, AdvisoryTurn):
            self._turn.abandon()
        engine.keep_for_good(self._connection)
        self._connection, self._turn, self.beside = fresh._connection, None, Beside()
        if self._fenced:
            self.fence()


def init(path: str | os.PathLike[str] | None = None) -> Store:
    """Make a store and open it for writing: schema, views and the published table of the QUBA study.

    A folder is made beside its place and moved there when it is whole; a catalog in PostgreSQL is filled in one
    transaction, before which it is no store.

    Args:
        path: Folder that is to become the store, or a URL; None means QUBASTORE_STORE or ./store.

    Raises:
        StoreError: where there is something already, or the place cannot be written.
    """
    where = locate(path)
    return _init_postgres(where) if where.is_postgres else _init_folder(where)


def _init_folder(location: Location) -> Store:
    where = location.folder
    assert where is not None
    if location.catalog_file.exists():
        hint = f"qubastore show runs --store {shlex.quote(str(where))}"
        raise StoreError(f"there is a store at {where} already", hint=hint)
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
            made = locate(new)
            connection = engine.connect(made)
            engine.attach(connection, made, read_only=False)
            # In the default journal a reader with an unfetched result makes a writer's commit fail.
            with contextlib.closing(sqlite3.connect(made.catalog_file)) as catalog:
                catalog.execute("pragma journal_mode=wal")
            with Store(made, connection, read_only=False) as store:
                _fill(store)
            new.rename(where)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return open_store(where, read_only=False)


def _init_postgres(location: Location) -> Store:
    if not location.data:
        raise UsageError(
            "a new store in PostgreSQL needs a place for its files",
            expected="&data=s3://BUCKET/FOLDER or &data=/shared/folder in its URL",
            found=str(location),
        )
    if not location.is_s3:
        with translated():
            Path(location.data).mkdir(parents=True, exist_ok=True)
    DataFiles(location.data).check()
    with _attach(location, read_only=False, fresh=True) as store:
        if _is_store(store):
            raise StoreError(
                f"there is a store at {location} already",
                hint=f"qubastore show runs --store {shlex.quote(str(location))}",
            )
        if store.files.sizes():
            raise StoreError(f"{location.data} is not empty", expected="a new or empty place for the files of a store")
        _fill(store)
    return open_store(location.text, read_only=False)


def _fill(store: Store) -> None:
    """Schema, views, published table: all of it, or nothing."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        schema.migrate(connection, schema.migrations(), since=0)
        _refresh_views(connection)
        load_published(connection)

    with translated():
        store._connection.execute(f"call {engine.CATALOG}.set_option('data_inlining_row_limit', {engine.INLINE_ROWS})")
    store.write(work)


def load_published(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the published rows into a new store."""
    from qubastore.registry import insert

    columns = ("model", "label", "architecture", "pretraining", "paradigm", "paper", "loader", "loader_id")
    table = read_table(SOURCE)
    insert(connection, "published_models", [(SOURCE, *(row[column] for column in columns)) for row in table])
    results = [
        (SOURCE, row["model"], dimension.name, float(row[dimension.column]))
        for row in table
        for dimension in DIMENSIONS
    ]
    insert(connection, "published_results", results)


def _is_store(store: Store) -> bool:
    query = "select count(*) from duckdb_tables() where database_name = ? and table_name = 'store_info'"
    return bool(store.rows(query, [engine.CATALOG])[0][0])


def open_store(path: str | os.PathLike[str] | None = None, *, read_only: bool = True) -> Store:
    """Open a store.

    Args:
        path: The store's folder, or its URL; None means QUBASTORE_STORE or ./store.
        read_only: False to ingest, import or remove.

    Raises:
        StoreNotFoundError: where there is none.
        StoreVersionError: where it was written with another schema.
    """
    return _connected(locate(path), read_only=read_only)


def _connected(location: Location, *, read_only: bool) -> Store:
    store = _attach(location, read_only=read_only)
    try:
        if location.is_postgres and not _is_store(store):
            raise StoreNotFoundError(
                f"there is no store at {location}",
                found="a catalog without tables: an init that was stopped",
                hint=f"qubastore init --store {shlex.quote(str(location))}",
            )
        with translated():
            connection = store._connection
            facts = schema.store_facts(connection)
            schema.check_version(schema.schema_version(facts), schema.migrations(), str(location))
            store.attachments = noted_attachments(connection)
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
    with _attach(locate(path), read_only=False) as store:
        steps = schema.migrations()
        with translated():
            before = schema.schema_version(schema.store_facts(store._connection))
        if before > max(steps):
            schema.check_version(before, steps, str(store.location))

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            return schema.migrate(connection, steps, since=before)

        after = store.write(work) if before < max(steps) else before
        store.write(_refresh_views)
        return before, after


def _attach(location: Location, *, read_only: bool, fresh: bool = False) -> Store:
    """Attach a catalog. One in PostgreSQL that is no store yet is filled where it is to be `fresh`."""
    _check_there(location)
    connection = engine.connect(location)
    try:
        if location.is_postgres:
            location = _attach_postgres(connection, location, read_only=read_only, fresh=fresh)
        else:
            with translated():
                if not read_only:
                    _lock_file(location).open("a").close()
                engine.attach(connection, location, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return Store(location, connection, read_only=read_only)


def attach_beside(connection: duckdb.DuckDBPyConnection, location: Location, name: str) -> Location:
    """Attach another store under a name, for reading only; return where it and its files are.

    Raises:
        StoreNotFoundError: where there is none.
        StoreVersionError: where its schema is not this release's.
    """
    _check_there(location)
    engine.load(connection, engine.needed(location))
    if location.is_postgres:
        location = _attach_postgres(connection, location, read_only=True, fresh=False, name=name)
    else:
        engine.attach(connection, location, read_only=True, name=name)
    facts = schema.store_facts(connection, name)
    schema.check_version(schema.schema_version(facts), schema.migrations(), str(location))
    return location


def _check_there(location: Location) -> None:
    if not location.is_postgres and not location.catalog_file.is_file():
        raise StoreNotFoundError(
            f"there is no store at {location}",
            expected="a folder with catalog.sqlite in it",
            hint=f"qubastore init --store {shlex.quote(str(location))}",
        )


def _attach_postgres(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    *,
    read_only: bool,
    fresh: bool,
    name: str = engine.CATALOG,
) -> Location:
    import duckdb

    # To look, and never to make: DuckLake makes a catalog where it finds none.
    options = "" if fresh else "create_if_not_exists false"
    try:
        engine.attach(connection, location, read_only=read_only, options=options, name=name)
    except duckdb.Error as error:
        message = engine.plain(error)
        if engine.is_lost(error):
            raise StoreError(
                f"the PostgreSQL server of {location} cannot be reached",
                found=message,
                hint="is it up? pg_isready -h HOST",
            ) from None
        if "authentication failed" in message or "no password" in message:
            raise StoreError(
                f"PostgreSQL does not let you in to {location}",
                found=message,
                hint="the password belongs in PGPASSWORD or ~/.pgpass",
            ) from None
        if "does not exist" in message:
            hint = f"qubastore init --store {shlex.quote(str(location))}"
            raise StoreNotFoundError(f"there is no store at {location}", found=message, hint=hint) from None
        if "DATA_PATH" in message.upper():
            raise StoreError(
                f"the files of the store {location} lie elsewhere",
                found=message,
                hint="leave data= out: the catalog says where they are",
            ) from None
        raise StoreError(f"the store {location} cannot be opened", found=message) from None
    noted = engine.noted_data(connection, name)
    return location.with_data(noted)


def _lock_file(location: Location) -> Path:
    assert location.folder is not None
    return location.folder / "commit.lock"


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
