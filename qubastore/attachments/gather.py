"""Making attachments available to queries and rankings.

Each attachment is a DuckDB database, so `lab.accuracy` is a view of an attached store and `lab.results` a file. For
rankings, the figures of all attachments are gathered in `memory.main.attached_rows`, which the views over `rankable`
read through temporary views of the connection. Figures of stores and exports are computed by this release's views,
whichever release wrote them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from qubastore.attachments import manifest
from qubastore.attachments.attached import TABLES, AttachedDatabase, Attachment, noted
from qubastore.attachments.columns import COLUMNS, KINDS
from qubastore.attachments.connect import connect, named
from qubastore.attachments.rows import add_rows
from qubastore.errors import QubastoreError
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.ducklake import quote
from qubastore.lake.names import Names, constant_texts, names_in_query, written_names
from qubastore.lake.snapshot import Snapshot
from qubastore.lake.views import all_views, may_read, views_over

ROWS = "memory.main.attached_rows"
"""The table with the figures of all attachments, which the view `attached_dimensions` reads."""


VIEW = "attached_dimensions"

GATHERED = {VIEW: f"from {ROWS}"}
"""`Snapshot(..., replaced=GATHERED)` reads the gathered figures as `attached_dimensions`, which would else be empty."""


def prepare(store: AttachedDatabase, query: str) -> None:
    """Make available what a query refers to: attachments (`NAME.table`), and their figures in rankings.

    Raises:
        StoreError: If an attachment cannot be read.
    """
    attached = {attachment.name for attachment in store.attachments}
    # Most queries need neither, which their words show without parsing.
    if (may_read(VIEW) | attached).isdisjoint(re.findall(r"\w+", query.lower())):
        return
    with translate_errors(query), contextlib.closing(store.cursor()) as cursor:
        tables = _tables_read(names_in_query(cursor, query))
        read = {name for *before, name in tables if not attached & {*before[:1]}} & may_read(VIEW)
        ranks = bool(read) and not read.isdisjoint([VIEW, *(view.name for view in views_over(cursor, VIEW))])
    if ranks:
        gather(store)
        _include_in_views(store)
    for attachment in store.attachments:
        if any(len(names) > 1 and names[0] == attachment.name for names in tables):
            connect(store, attachment)


def _tables_read(names: Names) -> set[tuple[str, ...]]:
    """The tables, views and macros that a query reads; for a macro with a pool argument, only the pool."""
    tables = set(names.tables)
    for call in names.calls:
        macro = all_views().get(call.name)
        pool = macro.pool_argument(call.arguments) if macro else None
        pools = constant_texts(pool) if pool else []
        tables.update(map(written_names, pools) if pools else [(call.name,)])
    return tables


def prepare_all(store: AttachedDatabase) -> Iterator[QubastoreError]:
    """Make all attachments available that can be read; yield the errors of the others."""
    gather(store, "auto")
    _include_in_views(store)
    yield from store.attachment_state.errors


def _include_in_views(store: AttachedDatabase) -> None:
    if store.attachment_state.in_views:
        return
    with translate_errors():
        store._connection.execute(f"create or replace temp view {VIEW} as from {ROWS}")
        for view in views_over(store._connection, VIEW):
            view.create(store._connection, temporary=True)
    store.attachment_state.in_views = True


def gather(
    store: AttachedDatabase, source: str = "all", *, only: Attachment | None = None, thorough: bool = False
) -> None:
    """Gather the current figures of attachments in `memory.main.attached_rows`.

    Args:
        store: An open store. A restricted one keeps the figures that were gathered before.
        source: Which attachments, as in `ranking.rank`; with `auto`, one that cannot be read is left out with a note.
        only: A single attachment that is not stored yet, instead of the store's.
        thorough: Whether to check the files of exports against the hashes in their manifests, in addition to sizes.

    Raises:
        StoreError: If an attachment cannot be read, or its figures are impossible.
    """
    state = store.attachment_state
    if store.is_restricted and state.in_views:
        return
    if only is None:
        store.attachments = noted(store._connection)
    names = set(source.split(","))
    everything = bool(names & {"all", "attached", "auto"})
    state.notes.clear()
    state.errors.clear()
    state.suites.clear()
    listed = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with translate_errors(), contextlib.closing(store.cursor()) as cursor:
        cursor.execute(f"create or replace table {ROWS} ({listed})")
    for attachment in [only] if only else store.attachments:
        if not (only or everything or attachment.name in names):
            continue
        try:
            connect(store, attachment, thorough=thorough)
            with named(attachment):
                if attachment.kind == TABLES:
                    add_rows(store, attachment, ROWS)
                else:
                    _add_measured(store, attachment)
        except QubastoreError as error:
            if source != "auto":
                raise
            with translate_errors(), contextlib.closing(store.cursor()) as cursor:
                cursor.execute(f"delete from {ROWS} where source = ?", [attachment.name])
            state.errors.append(error)
            state.notes.append(
                ("auto", f"{attachment.name} cannot be read, so it is left out: --source all shows the reason")
            )


def _add_measured(store: AttachedDatabase, attachment: Attachment) -> None:
    """Add the measured dimensions of a store or an export, as computed by this release's views."""
    name = attachment.name
    with Snapshot(store, ["measured_dimensions", "dimension_runs"], catalog=name) as copy:
        outdated = manifest.outdated_metrics(copy)
        if outdated:
            _note(store, name, f"{name} was computed by another release: {', '.join(outdated)} left out")
            copy.forget_metrics(outdated)
        datasets = copy.rows(
            "select distinct datasets.name, datasets.dataset_id from dimension_runs"
            " join runs using (run_id) join datasets using (dataset_id) order by all"
        )
        unknown = {"source": f"{quote(name)} as source", **{c: f"null as {c}" for c in KINDS}}
        columns = ", ".join(unknown.get(column, column) for column in COLUMNS)
        copy.keep("attached_of_one", f"select {columns} from measured_dimensions")
        suites = copy.rows("select * from own_suites")
    known = {"this store": _by_suite(store.rows("from store.main.own_suites")), **store.attachment_state.suites}
    left_out = []
    for suite, roles in sorted(_by_suite(suites).items()):
        owner = next((owner for owner, theirs in known.items() if theirs.get(suite, roles) != roles), None)
        if owner is None:
            store.attachment_state.suites.setdefault(name, {})[suite] = roles
        else:
            _note(store, name, f"{name} is left out of suite {suite}: its roles differ from those in {owner}")
            left_out.append(suite)
    own = dict(store.rows("select name, list(dataset_id) from store.main.datasets group by name"))
    if other_images := sorted({dataset for dataset, key in datasets if dataset in own and key not in own[dataset]}):
        _note(store, name, f"{name} measured other images of {', '.join(other_images[:3])} than this store has")
    with translate_errors(), contextlib.closing(store.cursor()) as cursor:
        query = f"insert into {ROWS} from memory.main.attached_of_one where not list_contains(?, suite)"
        cursor.execute(query, [left_out])
        cursor.execute("drop table memory.main.attached_of_one")


def _by_suite(rows: Sequence[tuple[Any, ...]]) -> dict[str, set[tuple[Any, ...]]]:
    found: dict[str, set[tuple[Any, ...]]] = {}
    for suite, *rest in rows:
        found.setdefault(suite, set()).add(tuple(rest))
    return found


def _note(store: AttachedDatabase, source: str, text: str) -> None:
    store.attachment_state.notes.append((source, text))
