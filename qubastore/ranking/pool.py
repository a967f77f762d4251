"""The pool of a ranking: the selected rows of the view `rankable`, as a temporary table."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

from qubastore.attachments.attached import AttachedDatabase
from qubastore.attachments.gather import GATHERED, gather
from qubastore.errors import QueryError, UsageError, check_name
from qubastore.lake import sandbox
from qubastore.lake.ducklake import is_one_of, quote
from qubastore.lake.snapshot import Snapshot
from qubastore.ranking.cost import Cost
from qubastore.ranking.request import ORIGINS, PoolRequest

_numbers = itertools.count(1)


class Pool:
    """The rows that a ranking considers. Use it as a context manager: its tables exist only within the block.

    Args:
        store: An open store.
        request: Which models to select.

    Attributes:
        table: Name of the table of the rows, with the columns of `rankable`.
        with_faults: Name of the same table including figures with a known fault; `table` if none was left out.
        cost_note: What is ranked by in place of the number of parameters; None without a cost.

    Raises:
        UsageError: on an unknown suite or source.
        QueryError: on a condition that DuckDB rejects.
        StoreError: if an attachment cannot be read.
    """

    def __init__(self, store: AttachedDatabase, request: PoolRequest) -> None:
        self.store, self.request = store, request
        self.cost_note: str | None = None
        number = next(_numbers)
        self.table = self.with_faults = f"ranking_pool_{number}"
        if request.without_known_faults:
            self.with_faults = f"ranking_pool_{number}_with_faults"

    def __enter__(self) -> Pool:
        request, store = self.request, self.store
        self._copy_rankable()
        if request.where is not None:
            check_condition(store, request.where)
        condition = f"({request.where}\n)" if request.where else "true"
        try:
            # A condition may refer to other views too, so it runs on the store.
            query = f"from {self._candidates()} where {condition}"
            if request.cost is not None:
                # The cost takes the place of the number of parameters once the condition has seen both.
                query = f"select * replace (cost as parameters_m) {query}"
            store.execute(f"create temp table {self.with_faults} as {query}")
        except QueryError as error:
            if request.where is None:
                raise
            raise QueryError(
                f"--where {request.where!r}: {error.what.splitlines()[0]}",
                hint="qubastore show views rankable, for its columns",
            ) from None
        if request.without_known_faults:
            faultless = f"from without_known_faults(pool := {quote(self.with_faults)})"
            store.execute(f"create temp table {self.table} as {faultless}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for table in {self.table, self.with_faults}:
            self.store.execute(f"drop table if exists temp.{table}")

    def _copy_rankable(self) -> None:
        """Copy the view `rankable`, attachments included, and check that suite and source exist."""
        names = self.request.source.split(",")
        if len(names) > 1 and {"auto", "all"} & {*names}:
            raise UsageError(
                f"--source {self.request.source}: auto and all cannot be combined",
                hint="--source all, or sources by name",
            )
        gather(self.store, self.request.source)
        with Snapshot(self.store, ["rankable", "suites"], replaced=GATHERED) as copy:
            suites = copy.rows("select suite from suites union select suite from rankable order by suite")
            check_name("suite", self.request.suite, [row[0] for row in suites])
            found = copy.rows("select distinct source from rankable where origin = 'published'")
            sources = [row[0] for row in found] + [each.name for each in self.store.attachments]
            copy.keep("rankable_rows", "from rankable")
        for name in names:
            check_name("source", name, ("auto", "all", *ORIGINS, *sorted(sources)))

    def _candidates(self) -> str:
        """What the condition selects from, as a table called `rankable`, with a column `cost` if one is asked for."""
        if self.request.cost is None:
            return "memory.main.rankable_rows as rankable"
        cost = Cost.parse(self.request.cost)
        measured = cost.measured(self.store) if cost.device is not None else None
        self.cost_note = cost.note(measured)
        if measured is None:
            return f"(select *, {cost.name}::double as cost from memory.main.rankable_rows) as rankable"
        return (
            "(select candidates.*, figures.cost from memory.main.rankable_rows as candidates"
            f" left join ({measured.query}) as figures"
            " on candidates.origin = 'measured' and figures.model = candidates.model) as rankable"
        )

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query over the pool, which it calls `pool`."""
        return self.store.rows(f"with pool as (from temp.{self.table}) {query}", parameters or [])

    def records(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query over the pool, each as a mapping from column to value."""
        return self.store.records(f"with pool as (from temp.{self.table}) {query}")


def of_source(source: str) -> str:
    """The condition on `rankable` that selects the given sources; `auto` selects all."""
    if source in ("auto", "all"):
        return "true"
    names = source.split(",")
    return f"({is_one_of('origin', names)} or {is_one_of('source', names)})"


def check_condition(store: AttachedDatabase, where: str) -> None:
    """Reject text that is not a single condition, or reads anything but the store: it becomes part of a query.

    Raises:
        QueryError: with what DuckDB found.
    """
    words = {
        "named": f"--where {where!r}",
        "kind": "SQL condition",
        "expected": 'a condition over the columns of rankable, as in "accuracy > 0.8 and parameters_m < 30"',
        "hint": "qubastore show views rankable",
    }
    store.ask(lambda connection: sandbox.check_condition(connection, where, **words))
