"""How a connection asks what is attached: stores as they are, tables as views, and the figures of all in rankings.

A catalog of DuckDB stands for each attachment, so `lab.accuracy` is a view of the attached store and `lab.results` a
file. For rankings, the figures of every attachment come together in `memory.main.attached_rows`; the views that rank
see them through temporary views of this connection. Figures of stores and exports are computed by this release's views,
whatever release wrote them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from qubastore import attached_tables, engine, exporting
from qubastore.attachments import EXPORT, STORE, TABLE_FILES, TABLES, Attachment, is_file, noted
from qubastore.boundary import translated
from qubastore.engine import quote
from qubastore.errors import ImportDataError, QubastoreError, StoreError
from qubastore.files import DataFiles
from qubastore.location import locate
from qubastore.run_grain import RunGrain
from qubastore.store import Store, attach_beside
from qubastore.views import View, all_views

ROWS = "memory.main.attached_rows"
"""The figures of all attachments: the rows that the view `attached_dimensions` stands for."""

VIEW = "attached_dimensions"


def reach(store: Store, query: str) -> None:
    """Have ready what a query names: attachments (`NAME.table`), and the views that rank.

    Raises:
        StoreError: where an attachment cannot be read.
    """
    words = set(re.findall(r"\w+", query.lower()))
    # A macro that is told its pool ranks nothing else.
    has_pool = re.search(r"\bpool\s*:=", query)
    if words & {VIEW, *(view.name for view in _ranking_views() if view.parameters is None or not has_pool)}:
        gather(store)
        _let_views_see(store)
    for attachment in store.attachments:
        if attachment.name in words and re.search(rf'\b{attachment.name}"?\s*\.', query, re.IGNORECASE):
            connect(store, attachment)


def reach_all(store: Store) -> Iterator[QubastoreError]:
    """Have everything ready that can be; the errors of what cannot."""
    gather(store, "auto")
    _let_views_see(store)
    yield from store.beside.errors


def _let_views_see(store: Store) -> None:
    if store.beside.in_views:
        return
    with translated():
        store._connection.execute(f"create or replace temp view {VIEW} as from {ROWS}")
        for view in _ranking_views():
            view.create(store._connection, temporary=True)
    store.beside.in_views = True


def gather(store: Store, source: str = "all", *, only: Attachment | None = None, thorough: bool = False) -> None:
    """Bring the figures of attachments together in `memory.main.attached_rows`, as they are now.

    Args:
        store: An open store. Behind a fence, what was gathered before stays.
        source: Which attachments, as in `ranking.rank`; with `auto`, one that cannot be read is left out with a note.
        only: One that is not noted in the store.
        thorough: Check the files of exports against the hashes in their manifests, not their sizes alone.

    Raises:
        StoreError: where an attachment cannot be read, or its figures are impossible.
    """
    beside = store.beside
    if store._fenced and beside.in_views:
        return
    if only is None:
        store.attachments = noted(store._connection)
    names = set(source.split(","))
    everything = bool(names & {"all", "attached", "auto"})
    beside.notes.clear()
    beside.errors.clear()
    beside.suites.clear()
    listed = ", ".join(f"{name} {kind}" for name, kind in attached_tables.COLUMNS.items())
    with translated(), contextlib.closing(store.cursor()) as cursor:
        cursor.execute(f"create or replace table {ROWS} ({listed})")
    for attachment in [only] if only else store.attachments:
        if not (only or everything or attachment.name in names):
            continue
        try:
            connect(store, attachment, thorough=thorough)
            with _named(attachment):
                if attachment.kind == TABLES:
                    attached_tables.add_rows(store, attachment, ROWS)
                else:
                    _add_measured(store, attachment)
        except QubastoreError as error:
            if source != "auto":
                raise
            with translated(), contextlib.closing(store.cursor()) as cursor:
                cursor.execute(f"delete from {ROWS} where source = ?", [attachment.name])
            beside.errors.append(error)
            beside.notes.append(("auto", f"{attachment.name} cannot be read, so it is left out: --source all says why"))


def connect(store: Store, attachment: Attachment, *, thorough: bool = False) -> None:
    """Have the tables of an attachment ready under its name.

    Raises:
        StoreError: where they cannot be read.
    """
    beside, name = store.beside, attachment.name
    if name in beside.connected:
        return
    connection = store._connection
    with _named(attachment), translated():
        try:
            if attachment.kind == STORE:
                location = attach_beside(connection, locate(attachment.location), name)
                beside.folders.append(f"{location.data}/")
            else:
                files = _files(store, attachment, thorough=thorough)
                # Files may change while they are attached, sooner than DuckDB's cache of files notices.
                connection.execute("set enable_external_file_cache = false")
                connection.execute(f"attach ':memory:' as {name}")
                for table, path in files.items():
                    with _told(path):
                        connection.execute(f'create view {name}.main."{table}" as from {attached_tables.reader(path)}')
                if list(files.values()) == [attachment.location]:
                    beside.files.append(attachment.location)
                else:
                    beside.folders.append(f"{attachment.location}/")
        except BaseException:
            connection.execute(f"detach database if exists {name}")
            raise
    beside.connected.add(name)


def disconnect(store: Store, name: str) -> None:
    """Let an attachment go, where it is at hand."""
    with translated():
        store._connection.execute(f"detach database if exists {name}")
    store.beside.connected.discard(name)


def tables_at(store: Store, attachment: Attachment) -> dict[str, list[str]]:
    """The tables of an attachment and their columns, in order.

    Raises:
        StoreError: where they cannot be read.
    """
    connect(store, attachment)
    with _named(attachment):
        rows = store.rows(
            "select table_name, column_name from duckdb_columns() where database_name = ? order by all",
            [attachment.name],
        )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


@cache
def _ranking_views() -> tuple[View, ...]:
    """The views and macros that read `attached_dimensions`, each after those that it reads."""
    found: dict[str, View] = {}
    for view in all_views():
        if view.reads & {VIEW, *found}:
            found[view.name] = view
    return tuple(found.values())


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Name the file in what DuckDB says of it."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be read", found=str(error).strip().splitlines()[0]) from None


def _files(store: Store, attachment: Attachment, *, thorough: bool) -> dict[str, str]:
    """Table -> file."""
    location = attachment.location
    if location.startswith("s3://"):
        if engine.literal_path(location) != location:
            # Object storage lists what a pattern may mean, and a name with a bracket is none of it.
            raise StoreError(f"{location} has one of * ? [ in its path", hint="copy it to another place")
        engine.load(store._connection, engine.S3)
    if attachment.kind == EXPORT:
        return exporting.checked_files(location, thorough=thorough)
    if is_file(location):
        return {attached_tables.table_name(location): location}
    root = DataFiles(location)
    paths = sorted(path for path in root.sizes() if TABLE_FILES.fullmatch(path.removeprefix(f"{location}/")))
    found: dict[str, str] = {}
    for path in paths:
        # A name with a slash is in a folder below.
        if "/" in path.removeprefix(f"{location}/") or path.rpartition("/")[2].startswith("."):
            continue
        name = attached_tables.table_name(path)
        if name in found:
            raise StoreError(f"{path} and {found[name]} are both the table {name}", hint="rename one of them")
        found[name] = path
    if not found:
        raise StoreError(f"{location} holds no Parquet or CSV file")
    return found


def _add_measured(store: Store, attachment: Attachment) -> None:
    """The measured dimensions of a store or an export, as this release's views compute them."""
    name = attachment.name
    with RunGrain(store, ["measured_dimensions", "dimension_runs"], catalog=name) as copy:
        outdated = exporting.outdated_metrics(copy)
        if outdated:
            _note(store, name, f"{name} was computed by another release: left out are {', '.join(outdated)}")
            copy.forget_metrics(outdated)
        datasets = copy.rows(
            "select distinct datasets.name, datasets.dataset_id from dimension_runs"
            " join runs using (run_id) join datasets using (dataset_id) order by all"
        )
        unknown = {"source": f"{quote(name)} as source", **{c: f"null as {c}" for c in attached_tables.KINDS}}
        columns = ", ".join(unknown.get(column, column) for column in attached_tables.COLUMNS)
        copy.keep("attached_of_one", f"select {columns} from measured_dimensions")
        suites = copy.rows("select * from own_suites")
    known = {"this store": _by_suite(store.rows("from store.main.own_suites")), **store.beside.suites}
    left_out = []
    for suite, roles in sorted(_by_suite(suites).items()):
        owner = next((owner for owner, theirs in known.items() if theirs.get(suite, roles) != roles), None)
        if owner is None:
            store.beside.suites.setdefault(name, {})[suite] = roles
        else:
            _note(store, name, f"{name} is left out of suite {suite}: its roles are other ones than in {owner}")
            left_out.append(suite)
    own = dict(store.rows("select name, list(dataset_id) from store.main.datasets group by name"))
    if other_images := sorted({dataset for dataset, key in datasets if dataset in own and key not in own[dataset]}):
        _note(store, name, f"{name} measured other images of {', '.join(other_images[:3])} than this store has")
    with translated(), contextlib.closing(store.cursor()) as cursor:
        query = f"insert into {ROWS} from memory.main.attached_of_one where not list_contains(?, suite)"
        cursor.execute(query, [left_out])
        cursor.execute("drop table memory.main.attached_of_one")


def _by_suite(rows: Sequence[tuple[Any, ...]]) -> dict[str, set[tuple[Any, ...]]]:
    found: dict[str, set[tuple[Any, ...]]] = {}
    for suite, *rest in rows:
        found.setdefault(suite, set()).add(tuple(rest))
    return found


def _note(store: Store, source: str, text: str) -> None:
    store.beside.notes.append((source, text))


@contextlib.contextmanager
def _named(attachment: Attachment) -> Iterator[None]:
    """Name the attachment in whatever goes wrong with it."""
    try:
        yield
    except (_AttachedError, ImportDataError):
        # They name the attachment, or its table, already.
        raise
    except QubastoreError as error:
        raise _AttachedError(
            f"{attachment.name}, attached from {attachment.location}, cannot be used",
            expected=error.expected,
            found=error.what if error.found is None else f"{error.what}: {error.found}",
            hint=f"qubastore detach {attachment.name}, if it is attached; or attach it from where it is now",
        ) from None


class _AttachedError(StoreError):
    """An error that names its attachment already."""
