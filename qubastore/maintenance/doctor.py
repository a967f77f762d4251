"""`qubastore doctor`: what is wrong with a store, where, what mends it; and mending what can be.

A check of what tables say is a file in `sql/checks/`: one SELECT of `run` (null where the fault is of no run), `shard`
where the fault is of one, and `found`. Its header says what is wrong and what mends it. Checks of files are below.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from qubastore.hashing import checksum
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.object_storage import DataFiles
from qubastore.runs import removal
from qubastore.runs.outputs import KINDS
from qubastore.runs.publish import complete_runs
from qubastore.runs.sessions import forget_dead, is_alive

if TYPE_CHECKING:
    import duckdb


QUICK = (
    "unfinished_runs",
    "duplicate_rows",
    "shard_ranges",
    "summary_counts",
    "impossible_metrics",
    "relative_above_clean",
)
"""Checks that read what is at run grain."""


DEEP = (
    "row_counts",
    "duplicate_samples",
    "impossible_outputs",
    "stale_sums",
    "softmaxed_twice",
    "batch_dependent",
    "feature_width",
)
"""Checks that read every row."""


SUMS = ("summary_counts", "impossible_metrics", "stale_sums")
"""Checks whose faults are mended by summing up anew."""


UNREADABLE = ("missing_files", "damaged_files", "files_gone")


SHARDS = ("missing_files", "damaged_files", "row_counts", "duplicate_samples", "impossible_outputs")
"""Checks whose faults are mended by taking the shard back, so that the next ingest makes it anew."""


_OWN = (
    r"main/(outputs|logits|features)/run_id=[0-9a-f]+/shard-\d{5}-[0-9a-f]{12}\.parquet"
    r"|main/\w+/(\w+=[^/]+/)?ducklake-[0-9a-f-]{36}(-delete)?\.parquet"
)


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        check: Name of the check.
        found: What is wrong, in words.
        mend: What to type, or to do.
        run_id: The run; None where the fault is of none.
        shard: Its shard; None where the fault is of none.
        file: The file; empty where the fault is of none.
    """

    check: str
    found: str
    mend: str
    run_id: str | None = None
    shard: int | None = None
    file: str = ""


@dataclass(frozen=True)
class Check:
    """A check in SQL.

    Attributes:
        name: Its name, that of its file.
        says: What is wrong where it finds something.
        mend: What mends it; `{run}` stands for the run.
        sql: One SELECT of run, perhaps shard, and found.
    """

    name: str
    says: str
    mend: str
    sql: str


@cache
def checks() -> dict[str, Check]:
    """The checks of `sql/checks/`."""
    found = {}
    for path in files("qubastore.sql").joinpath("checks").iterdir():
        if path.name.endswith(".sql"):
            text = path.read_text("utf-8")
            head = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
            lines = [line.removeprefix("--").strip() for line in head]
            says, _, mend = " ".join(lines).partition(" Mend: ")
            name = path.name.removesuffix(".sql")
            found[name] = Check(name, says.strip(), mend, text)
    return found


def examine(store: Database, *, deep: bool = False) -> Iterator[Fault]:
    """Look for faults, one after another.

    Args:
        store: An open store.
        deep: Read every row and every file as well.
    """
    unreadable = False
    for fault in _files(store, deep=deep):
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


@dataclass(frozen=True)
class _Kept:
    """A file that the catalog refers to."""

    path: str
    size: int
    kind: str
    run_id: str | None
    shard: int | None


def _kept(store: Database) -> list[_Kept]:
    """The files of the store as it is now."""
    found = []
    for (table,) in store.rows("select table_name from duckdb_tables() where database_name = ?", [ducklake.CATALOG]):
        listed = f"ducklake_list_files({ducklake.quote(ducklake.CATALOG)}, {ducklake.quote(table)})"
        for path, size in store.rows(f"select data_file, data_file_size_bytes from {listed}"):
            place = re.search(r"/run_id=([0-9a-f]+)/shard-(\d+)-[0-9a-f]+\.parquet$", path)
            found.append(_Kept(path, size, table, place[1] if place else None, int(place[2]) if place else None))
    return found


def _files(store: Database, *, deep: bool) -> Iterator[Fault]:
    kept = _kept(store)
    there = store.files.sizes()
    sums = {}
    if deep:
        rows = store.rows("select run_id, shard, checksums from shards where checksums is not null")
        sums = {(run_id, shard, kind): value for run_id, shard, each in rows for kind, value in each.items()}
    gone = sum(file.path not in there for file in kept)
    if 2 * gone > len(kept):
        # A folder that is not mounted, a bucket that is another one: nothing that taking shards back would mend.
        yield Fault(
            "files_gone",
            f"{gone:,} of {len(kept):,} files are not there, below {store.files.root}",
            "is the folder mounted, is it the right bucket? What is truly lost comes back from a copy",
        )
        return
    again = "qubastore doctor --repair takes the shard back; then the same qubastore ingest again"
    for file in sorted(kept, key=lambda file: file.path):
        mend = again if file.run_id and file.kind in KINDS else "restore it from a copy"
        where = {"run_id": file.run_id, "shard": file.shard, "file": file.path}
        if file.path not in there:
            yield Fault("missing_files", f"{_short(store, file.path)} is not there", mend, **where)  # type: ignore[arg-type]
        elif there[file.path] != file.size:
            found = f"{_short(store, file.path)} has {there[file.path]:,} bytes, and was committed with {file.size:,}"
            yield Fault("damaged_files", found, mend, **where)  # type: ignore[arg-type]
        elif (known := sums.get((file.run_id, file.shard, file.kind))) and checksum(
            store.files.read(file.path)
        ) != known:
            found = f"{_short(store, file.path)} has other bytes than it was committed with"
            yield Fault("damaged_files", found, mend, **where)  # type: ignore[arg-type]
    orphans = list(_orphans(store, there))
    if orphans:
        size = sum(there[path] for path in orphans) / 1e6
        plural = "file" if len(orphans) == 1 else "files"
        yield Fault(
            "orphans",
            f"{len(orphans)} {plural} ({size:.1f} MB) that the catalog does not know, such as"
            f" {_short(store, orphans[0])}: left by work that was killed, or of an ingest that is at work",
            "qubastore gc",
            file=orphans[0],
        )


def _short(store: Database, path: str) -> str:
    return path.removeprefix(f"{store.files.root}/")


def is_own(store: Database, path: str) -> bool:
    """Whether a file below the data path has a place and a name that only this store's files have.

    Nothing else is anybody's garbage: another store may lie in a folder below, and people keep notes.
    """
    return re.fullmatch(_OWN, _short(store, path)) is not None


def known_files(store: Database) -> set[str]:
    """Names, without folders, of every file that any kept snapshot refers to, or that waits to be removed.

    Every file of a store has a name of its own (they end in random digits), so names are enough.
    """
    names: set[str] = set()
    for table in ("ducklake_data_file", "ducklake_delete_file", "ducklake_files_scheduled_for_deletion"):
        names |= {row[0] for row in store.rows(f"select parse_filename(path) from {ducklake.METADATA}.{table}")}
    return names


def _orphans(store: Database, there: dict[str, int]) -> Iterator[str]:
    known = known_files(store)
    yield from (path for path in sorted(there) if is_own(store, path) and path.rpartition("/")[2] not in known)


def orphans(store: Database, older_than: float, now: float) -> list[str]:
    """Full names of the files that no kept snapshot refers to.

    Args:
        store: An open store.
        older_than: Seconds; files written since may be of a shard that is about to be committed.
        now: Seconds since the epoch.
    """
    # What is on the disk first, what is known next: a file committed in between is known by then.
    there = store.files.sizes()
    return [path for path in _orphans(store, there) if now - _age(store.files, path) >= older_than]


def _age(data: DataFiles, path: str) -> float:
    try:
        return data.modified(path)
    except FileNotFoundError:
        return float("inf")


def repair(store: Database, faults: Sequence[Fault]) -> list[str]:
    """Mend what can be; return what was done, in words.

    Shards with faults are taken back, so that the next ingest makes them anew; sums are made anew; notes of dead
    ingests go. What no one can mend from here stays.
    """
    done = []
    shards = {
        (fault.run_id, fault.shard)
        for fault in faults
        if fault.check in SHARDS and fault.run_id is not None and fault.shard is not None
    }
    if shards:
        lost = [fault.file for fault in faults if fault.check in SHARDS and fault.shard is not None and fault.file]
        take_back(store, sorted(shards), lost)
        done += [f"took back shard {shard} of run {run_id}" for run_id, shard in sorted(shards)]
    stale = sorted({fault.run_id for fault in faults if fault.check in SUMS and fault.run_id})
    if stale:
        store.write(lambda c: removal.forget_sums(c, stale), repeatable=True)
        done.append(f"removed the sums of {len(stale)} runs")
    if completed := complete_runs(store):
        done.append(f"summed up {len(completed)} runs")
    if dead := store.write(forget_dead, repeatable=True):
        done.append(f"removed {dead} notes of ingests that were killed")
    return done


def take_back(store: Database, shards: Sequence[tuple[str, int]], lost: Sequence[str]) -> None:
    """Take shards back: their rows and what was computed from them; their runs are unfinished then.

    Args:
        store: A store open for writing.
        shards: Run and number of each.
        lost: Files that cannot be read. Deleting rows means reading them, so the catalog is told first that it has
            these files no more. Killed in between, the shards are there without rows, which the next deep examination
            finds; no ingest commits anything beside them.
    """

    def files_of(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            f"update {ducklake.METADATA}.ducklake_data_file"
            f" set end_snapshot = (select max(snapshot_id) from {ducklake.METADATA}.ducklake_snapshot)"
            " where end_snapshot is null and list_contains(?, parse_filename(path))",
            [[path.rpartition("/")[2] for path in lost]],
        )

    def all_else(connection: duckdb.DuckDBPyConnection) -> None:
        sizes = dict(connection.execute("select run_id, shard_size from runs").fetchall())
        for run_id, shard in shards:
            first = shard * sizes[run_id]
            removal.invalidate_shard(connection, run_id, shard, first, first + sizes[run_id])

    if lost:
        store.write(files_of, repeatable=True)
    store.write(all_else, repeatable=True)
