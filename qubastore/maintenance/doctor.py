"""`qubastore doctor`: what is wrong with a store, where, what mends it; and mending what can be.

A check of what tables say is a file in `sql/checks/`: one SELECT of `run` (null where the fault is of no run), `shard`
where the fault is of one, and `found`. Its header says what is wrong and what mends it. Checks of files are below.
"""

from __future__ import annotations

from collections.abc import Iterator

from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.maintenance.checks import DEEP, QUICK, UNREADABLE, Check, Fault, checks
from qubastore.maintenance.files import files
from qubastore.runs.sessions import is_alive


def examine(store: Database, *, deep: bool = False) -> Iterator[Fault]:
    """Look for faults, one after another.

    Args:
        store: An open store.
        deep: Read every row and every file as well.
    """
    unreadable = False
    for fault in files(store, deep=deep):
        unreadable |= fault.check in UNREADABLE
        yield fault
    for name in QUICK:
        yield from _asked(store, checks()[name])
    if deep and unreadable:
        yield Fault(
            "not_examined",
            "rows were not examined, because files with rows cannot be read",
            "mend the files first: qubastore doctor --deep --repair",
        )
    elif deep:
        for name in DEEP:
            yield from _asked(store, checks()[name])
    for driver_id, host, process_id in store.rows("select driver_id, host, process_id from drivers order by all"):
        if is_alive(host, process_id) is False:
            yield Fault(
                "dead_ingests",
                f"ingest {process_id} on {host} was killed, and its note {driver_id} is still there",
                "the same qubastore ingest again takes the note away, and so does qubastore doctor --repair",
            )


def _asked(store: Database, check: Check) -> Iterator[Fault]:
    answer = store.sql(check.sql)
    with translate_errors(check.sql):
        rows = answer.fetchall()
    for row in rows:
        values = dict(zip(answer.columns, row, strict=True))
        run_id, shard = values["run"], values.get("shard")
        yield Fault(check.name, str(values["found"]), check.mend.replace("{run}", run_id or "RUN"), run_id, shard)
