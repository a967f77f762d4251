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
from qubastore.attachments import EXPORT, STORE, TABLE_FILES, TABLES, Attachment
from qubastore.boundary import translated
from qubastore.dimensions import DIMENSIONS
from qubastore.engine import quote
from qubastore.errors import ImportDataError, QubastoreError, StoreError
from qubastore.files import DataFiles
from qubastore.location import locate
from qubastore.metrics import METRICS
from qubastore.run_grain import RunGrain
from qubastore.store import Store, attach_beside
from qubastore.suites import BUILT_IN
from qubastore.views import all_views

ROWS = "memory.main.attached_rows"
"""The figures of all attachments: the rows that the view `attached_dimensions` stands for."""

VIEW = "attached_dimensions"

_KINDS = ("architecture", "pretraining", "paradigm")
COLUMNS = {
    **dict.fromkeys(("suite", "source", "model", *_KINDS), "varchar"),
    **dict.fromkeys((*(d.column for d in DIMENSIONS), "macs_g", "activations_m"), "double"),
}
"""Columns of `attached_dimensions`, and their types."""


def reach(store: Store, query: str) -> None:
    """Have ready what a query names: attachments, and the views that rank.

    Raises:
        StoreError: where an attachment cannot be read.
    """
    words = set(re.findall(r"\w+", query.lower()))
    if words & _ranking_views() and not store.beside.in_views:
        gather(store)
        with translated():
            store._connection.execute(f"create or replace temp view {VIEW} as from {ROWS}")
            for view in all_views():
                if view.name in _ranking_views() - {VIEW}:
                    view.create(store._connection, temporary=True)
        store.beside.in_views = True
    for attachment in store.attachments:
        if attachment.name in words:
            connect(store, attachment)


def reach_all(store: Store) -> Iterator[StoreError]:
    """Have everything ready that can be; the errors of what cannot."""
    for attachment in store.attachments:
        try:
            connect(store, attachment)
        except StoreError as error:
            yield error
    try:
        reach(store, VIEW)
    except StoreError:
        return


def gather(store: Store, *, thorough: bool = False) -> None:
    """Bring the figures of all attachments together in `memory.main.attached_rows`.

    Args:
        store: An open store.
        thorough: Check the files of exports against the hashes in their manifests, not their sizes alone.

    Raises:
        StoreError: where an attachment cannot be read, or its figures are impossible.
    """
    if store.beside.gathered:
        return
    store.beside.notes.clear()
    listed = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with translated():
        store._connection.execute(f"create or replace table {ROWS} ({listed})")
    for attachment in store.attachments:
        connect(store, attachment, thorough=thorough)
        with _named(attachment):
            if attachment.kind == TABLES:
                attached_tables.add_rows(store, attachment, ROWS, list(COLUMNS))
            else:
                _add_measured(store, attachment)
    store.beside.gathered = True


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
                connection.execute(f"attach ':memory:' as {name}")
                for table, path in files.items():
                    connection.execute(f'create view {name}.main."{table}" as from {attached_tables.reader(path)}')
                if TABLE_FILES.fullmatch(attachment.location.rpartition("/")[2]):
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
    store.beside.gathered = store.beside.in_views = False


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
def _ranking_views() -> frozenset[str]:
    """The views and macros that see attached figures."""
    found = {VIEW}
    for view in all_views():
        if view.reads & found:
            found.add(view.name)
    return frozenset(found)


def _files(store: Store, attachment: Attachment, *, thorough: bool) -> dict[str, str]:
    """Table -> file."""
    location = attachment.location
    if location.startswith("s3://"):
        engine.load(store._connection, engine.S3)
    if attachment.kind == EXPORT:
        return exporting.checked_files(location, thorough=thorough)
    if TABLE_FILES.fullmatch(location.rpartition("/")[2]):
        return {attached_tables.table_name(location): location}
    root = DataFiles(location)
    paths = sorted(path for path in root.sizes() if TABLE_FILES.fullmatch(path.removeprefix(f"{location}/")))
    found: dict[str, str] = {}
    for path in paths:
        # A name with a slash is in a folder below.
        if "/" in path.removeprefix(f"{location}/"):
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
        outdated = _outdated(copy)
        if outdated:
            _note(store, name, f"{name} was computed by another release: left out are {', '.join(outdated)}")
            copy.forget_metrics(outdated)
        datasets = copy.rows(
            "select distinct datasets.name, datasets.dataset_id from dimension_runs"
            " join runs using (run_id) join datasets using (dataset_id) order by all"
        )
        unknown = {"source": f"{quote(name)} as source", **{c: f"null as {c}" for c in _KINDS}}
        columns = ", ".join(unknown.get(column, column) for column in COLUMNS)
        copy.keep("attached_of_one", f"select {columns} from measured_dimensions")
        suites = copy.rows("select * from own_suites")
    mine = store.rows("from store.main.own_suites")
    for suite in sorted(_by_suite(suites).keys() & _by_suite(mine).keys() - BUILT_IN.keys()):
        if _by_suite(suites)[suite] != _by_suite(mine)[suite]:
            _note(store, name, f"{name} is left out of suite {suite}: its roles are other ones there")
            store.execute(f"delete from memory.main.attached_of_one where suite = {quote(suite)}")
    own = dict(store.rows("select name, list(dataset_id) from store.main.datasets group by name"))
    if other := sorted({dataset for dataset, key in datasets if dataset in own and key not in own[dataset]}):
        _note(store, name, f"{name} measured other images of {', '.join(other[:3])} than this store has")
    store.execute(f"insert into {ROWS} from memory.main.attached_of_one")
    store.execute("drop table memory.main.attached_of_one")


def _outdated(copy: RunGrain) -> list[str]:
    """Metrics that another release computed by another definition."""
    versions = {metric.name: metric.version for metric in METRICS}
    found = copy.rows("select distinct metric, metric_version from run_metrics order by all")
    return sorted({metric for metric, version in found if versions.get(metric, version) != version})


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
