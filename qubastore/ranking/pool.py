"""The pool of a ranking: which rows of the view `rankable` are looked at."""

from __future__ import annotations

from qubastore.attachments.attached import AttachedDatabase
from qubastore.attachments.gather import GATHERED, gather
from qubastore.errors import QueryError, UsageError, check_name
from qubastore.lake import sandbox
from qubastore.lake.ducklake import quote
from qubastore.lake.snapshot import Snapshot
from qubastore.ranking.notes import WITH_FAULTS
from qubastore.ranking.request import ORIGINS


def choose_pool(
    store: AttachedDatabase, where: str | None, suite: str, source: str = "auto", *, without_known_faults: bool = False
) -> None:
    """Make the temporary table `rankable_pool` of the rows of `rankable` that meet a condition.

    Args:
        store: An open store.
        where: SQL condition over `rankable`; it sees figures as they were published.
        suite: A suite that there is.
        source: As in `rank`.
        without_known_faults: Whether figures with a known fault are null; the table `WITH_FAULTS` then has them.

    Raises:
        UsageError: on an unknown suite or source.
        QueryError: on a condition that DuckDB refuses.
        StoreError: where an attachment cannot be read.
    """
    names = source.split(",")
    if len(names) > 1 and {"auto", "all"} & {*names}:
        raise UsageError(f"--source {source}: auto and all stand alone", hint="--source all, or sources by name")
    gather(store, source)
    with Snapshot(store, ["rankable", "suites"], replaced=GATHERED) as copy:
        suites = copy.rows("select suite from suites union select suite from rankable order by suite")
        check_name("suite", suite, [row[0] for row in suites])
        found = copy.rows("select distinct source from rankable where origin = 'published'")
        sources = [row[0] for row in found] + [each.name for each in store.attachments]
        copy.keep("rankable_rows", "from rankable")
    for name in names:
        check_name("source", name, ("auto", "all", *ORIGINS, *sorted(sources)))
    if where is not None:
        check_condition(store, where)
    condition = f"({where}\n)" if where else "true"
    try:
        # A condition may ask other views too, so it is asked of the store.
        query = f"from memory.main.rankable_rows as rankable where {condition}"
        store.execute(
            f"create or replace temp table {WITH_FAULTS if without_known_faults else 'rankable_pool'} as {query}"
        )
    except QueryError as error:
        if where is None:
            raise
        raise QueryError(
            f"--where {where!r}: {error.what.splitlines()[0]}", hint="qubastore show views rankable, for its columns"
        ) from None
    if without_known_faults:
        faultless = f"from without_known_faults(pool := '{WITH_FAULTS}')"
        store.execute(f"create or replace temp table rankable_pool as {faultless}")


def of_source(source: str) -> str:
    """The condition over `rankable` that a choice of sources stands for; `auto` stands for all."""
    if source in ("auto", "all"):
        return "true"
    named = ", ".join(map(quote, source.split(",")))
    return f"(origin in ({named}) or source in ({named}))"


def check_condition(store: AttachedDatabase, where: str) -> None:
    """Refuse what is no single condition, and what reads more than the store: the text goes into a query.

    Raises:
        QueryError: naming what DuckDB found.
    """
    words = {
        "named": f"--where {where!r}",
        "kind": "SQL condition",
        "expected": 'a condition over the columns of rankable, as in "accuracy > 0.8 and parameters_m < 30"',
        "hint": "qubastore show views rankable",
    }
    store.ask(lambda connection: sandbox.check_condition(connection, where, **words))
