"""Find the faults of a store, as `qubastore doctor` reports them: what is wrong, where, and how to repair it.

Checks of tables are SQL files (`qubastore.maintenance.checks`); checks of files are in `qubastore.maintenance.files`.
"""

from __future__ import annotations

from collections.abc import Iterator

from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.tidy import SMALL_TABLES
from qubastore.maintenance.checks import DEEP, QUICK, UNREADABLE, Check, Fault, checks
from qubastore.maintenance.files import COMPUTED_AGAIN, files
from qubastore.runs.sessions import is_alive


def examine(store: Database, *, deep: bool = False) -> Iterator[Fault]:
    """Yield the faults of a store.

    Args:
        store: An open store.
        deep: Also read every row and every file.
    """
    unreadable = small_unreadable = False
    for fault in files(store, deep=deep):
        unreadable |= fault.check in UNREADABLE
        of_small = any(f"/main/{table}/" in fault.file for table in SMALL_TABLES if table != COMPUTED_AGAIN)
        small_unreadable |= fault.check == "files_gone" or (fault.check in UNREADABLE and of_small)
        yield fault
    for name in () if small_unreadable else QUICK:
        yield from _run_check(store, checks()[name])
    if unreadable and (deep or small_unreadable):
        yield Fault(
            "not_examined",
            "rows were not examined, because files with rows cannot be read",
            "repair the files first: qubastore doctor --deep --repair",
        )
    elif deep:
        for name in DEEP:
            yield from _run_check(store, checks()[name])
    for driver_id, host, process_id in store.rows("select driver_id, host, process_id from drivers order by all"):
        if is_alive(host, process_id) is False:
            yield Fault(
                "dead_ingests",
                f"ingest {process_id} on {host} was killed, and its session {driver_id} is still recorded",
                "run the same qubastore ingest again, or qubastore doctor --repair: either removes the session",
            )


def _run_check(store: Database, check: Check) -> Iterator[Fault]:
    answer = store.sql(check.sql)
    with translate_errors(check.sql):
        rows = answer.fetchall()
    for row in rows:
        values = dict(zip(answer.columns, row, strict=True))
        run_id, shard = values["run"], values.get("shard")
        yield Fault(check.name, str(values["found"]), check.repair.replace("{run}", run_id or "RUN"), run_id, shard)
