"""Checks of a store's files: missing, damaged, referred to by nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qubastore.hashing import checksum
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.checks import Fault
from qubastore.runs.outputs import KINDS

_OWN = (
    r"main/(outputs|logits|features)/run_id=[0-9a-f]+/shard-\d{5}-[0-9a-f]{12}\.parquet"
    r"|main/\w+/(\w+=[^/]+/)?ducklake-[0-9a-f-]{36}(-delete)?\.parquet"
)


@dataclass(frozen=True)
class _Kept:
    """A file that the catalog refers to, with its size and the shard that it belongs to."""

    path: str
    size: int
    kind: str
    run_id: str | None
    shard: int | None


def _kept(store: Database) -> list[_Kept]:
    """The files that the latest snapshot refers to."""
    found = []
    for (table,) in store.rows("select table_name from duckdb_tables() where database_name = ?", [ducklake.CATALOG]):
        listed = f"ducklake_list_files({ducklake.quote(ducklake.CATALOG)}, {ducklake.quote(table)})"
        for path, size in store.rows(f"select data_file, data_file_size_bytes from {listed}"):
            place = re.search(r"/run_id=([0-9a-f]+)/shard-(\d+)-[0-9a-f]+\.parquet$", path)
            found.append(_Kept(path, size, table, place[1] if place else None, int(place[2]) if place else None))
    return found


def files(store: Database, *, deep: bool) -> Iterator[Fault]:
    """Yield the faults of a store's files.

    Args:
        store: An open store.
        deep: Also read every file and compare its checksum.
    """
    kept = _kept(store)
    there = store.files.sizes()
    sums = {}
    if deep:
        rows = store.rows("select run_id, shard, checksums from shards where checksums is not null")
        sums = {(run_id, shard, kind): value for run_id, shard, each in rows for kind, value in each.items()}
    gone = sum(file.path not in there for file in kept)
    if 2 * gone > len(kept):
        # An unmounted folder or the wrong bucket: invalidating shards would not repair that.
        yield Fault(
            "files_gone",
            f"{gone:,} of {len(kept):,} files below {store.files.root} are missing",
            "is the folder mounted, is it the right bucket? Restore files that are really lost from a copy",
        )
        return
    again = "qubastore doctor --repair invalidates the shard; then run the same qubastore ingest again"
    for file in sorted(kept, key=lambda file: file.path):
        repair = again if file.run_id and file.kind in KINDS else "restore it from a copy"
        where = {"run_id": file.run_id, "shard": file.shard, "file": file.path}
        if file.path not in there:
            yield Fault("missing_files", f"{_short(store, file.path)} is missing", repair, **where)  # type: ignore[arg-type]
        elif there[file.path] != file.size:
            found = f"{_short(store, file.path)} has {there[file.path]:,} bytes, and was committed with {file.size:,}"
            yield Fault("damaged_files", found, repair, **where)  # type: ignore[arg-type]
        elif (known := sums.get((file.run_id, file.shard, file.kind))) and checksum(
            store.files.read(file.path)
        ) != known:
            found = f"{_short(store, file.path)} does not have the bytes that it was committed with"
            yield Fault("damaged_files", found, repair, **where)  # type: ignore[arg-type]
    orphans = list(_orphans(store, there))
    if orphans:
        size = sum(there[path] for path in orphans) / 1e6
        plural = "file" if len(orphans) == 1 else "files"
        yield Fault(
            "orphans",
            f"{len(orphans)} {plural} ({size:.1f} MB) that the catalog does not refer to, such as"
            f" {_short(store, orphans[0])}: left by a killed process, or being written by an active ingest",
            "qubastore gc",
            file=orphans[0],
        )


def _short(store: Database, path: str) -> str:
    return path.removeprefix(f"{store.files.root}/")


def is_own(store: Database, path: str) -> bool:
    """Whether a file below the data path has a location and a name that only this store's files have.

    Other files must not be removed: a subfolder may contain another store, and users keep notes.
    """
    return re.fullmatch(_OWN, _short(store, path)) is not None


def known_files(store: Database) -> set[str]:
    """Names, without folders, of every file that a kept snapshot refers to or that is scheduled for removal.

    The names of a store's files are unique (they end in random digits), so the folders are not needed.
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
        older_than: Age in seconds; younger files may belong to a shard that is about to be committed.
        now: Current time, seconds since the epoch.
    """
    # List the stored files first, the known ones second: a file committed in between is known by then.
    there = store.files.sizes()
    return [path for path in _orphans(store, there) if now - _age(store.files, path) >= older_than]


def _age(data: DataFiles, path: str) -> float:
    try:
        return data.modified(path)
    except FileNotFoundError:
        return float("inf")
