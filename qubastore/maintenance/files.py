"""Checks of a store's files: missing, damaged, referred to by nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qubastore.hashing import checksum
from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.object_storage import DataFiles
from qubastore.maintenance.checks import Fault
from qubastore.runs.outputs import KINDS

_OWN = (
    r"main/(outputs|logits|features)/run_id=[0-9a-f]+/(shard-\d{5}|run)-[0-9a-f]{12}\.parquet"
    r"|staged/[0-9a-f]+-\d{5}-(outputs|logits|features)-[0-9a-f]{12}\.parquet"
    r"|main/\w+/(\w+=[^/]+/)?ducklake-[0-9a-f-]{36}(-delete)?\.parquet"
)


@dataclass(frozen=True)
class _Kept:
    """A file that the store refers to, with its size if that is known, and the run and shard that it belongs to."""

    path: str
    size: int | None
    kind: str
    run_id: str | None
    shard: int | None
    checksum: str | None = None


def _kept(store: Database) -> list[_Kept]:
    """The files that the latest snapshot refers to, and those that are staged."""
    shards = store.rows("select run_id, shard, checksums from shards where checksums is not null")
    of_shards = {(run_id, shard, kind): value for run_id, shard, each in shards for kind, value in each.items()}
    of_runs = dict(store.rows("select file, checksum from run_files"))
    found = []
    for run_id, shard, kind, file in store.rows("select run_id, shard, kind, file from staged_files"):
        # Rows of the same shard that were published before have another checksum.
        known = of_shards.pop((run_id, shard, kind), None)
        found.append(_Kept(store.files.path(file), None, kind, run_id, shard, known))
    query = "select table_name from duckdb_tables() where database_name = ?"
    tables = [name for (name,) in store.rows(query, [ducklake.CATALOG])]
    # One query for all tables: each query costs a look at the catalog.
    listed = " union all ".join(
        f"select {ducklake.quote(table)}, data_file, data_file_size_bytes"
        f" from ducklake_list_files({ducklake.quote(ducklake.CATALOG)}, {ducklake.quote(table)})"
        for table in tables
    )
    for table, path, size in store.rows(listed):
        place = re.search(r"/run_id=([0-9a-f]+)/(?:shard-(\d+)|run)-[0-9a-f]+\.parquet$", path)
        run_id = place[1] if place else None
        shard = int(place[2]) if place and place[2] else None
        known = of_runs.get(store.files.below(path)) or of_shards.get((run_id, shard, table))
        found.append(_Kept(path, size, table, run_id, shard, known))
    return found


def files(store: Database, *, deep: bool) -> Iterator[Fault]:
    """Yield the faults of a store's files.

    Args:
        store: An open store.
        deep: Also read every file and compare its checksum.
    """
    kept = _kept(store)
    there = store.files.sizes()
    if any(file.path not in there for file in kept):
        # A run may have been published, or removed, since the files were listed.
        still = still_kept(store, [file.path for file in kept])
        kept = [file for file in kept if file.path in still]
    gone = sum(file.path not in there for file in kept)
    if 2 * gone > len(kept):
        # An unmounted folder or the wrong bucket: invalidating shards would not repair that.
        yield Fault(
            "files_gone",
            f"{gone:,} of {len(kept):,} files below {store.files.root} are missing",
            "is the folder mounted, is it the right bucket? Restore files that are really lost from a copy",
        )
        return
    suspects = [(file, fault) for file in kept if (fault := _fault(store, file, there, deep=deep))]
    if suspects:
        still = still_kept(store, [file.path for file, _ in suspects])
        yield from (fault for file, fault in sorted(suspects, key=lambda each: each[0].path) if file.path in still)
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


def _fault(store: Database, file: _Kept, there: Mapping[str, int], *, deep: bool) -> Fault | None:
    """The fault of a file, if it has one."""
    name = _short(store, file.path)
    size = there.get(file.path)
    if size is None:
        check, found = "missing_files", f"{name} is missing"
    elif file.size is not None and size != file.size:
        check, found = "damaged_files", f"{name} has {size:,} bytes, and was committed with {file.size:,}"
    elif deep and file.checksum:
        try:
            if checksum(store.files.read(file.path)) == file.checksum:
                return None
            check, found = "damaged_files", f"{name} does not have the bytes that it was committed with"
        except FileNotFoundError:
            check, found = "missing_files", f"{name} is missing"
    else:
        return None
    again = "qubastore doctor --repair invalidates what it held; then run the same qubastore ingest again"
    repair = again if file.run_id and file.kind in KINDS else "restore it from a copy"
    if file.kind == COMPUTED_AGAIN:
        repair = "qubastore doctor --repair forgets it: replicates are computed again when they are wanted"
    return Fault(check, found, repair, run_id=file.run_id, shard=file.shard, file=file.path)


COMPUTED_AGAIN = "replicates"
"""The table whose lost files are no loss."""


def still_kept(store: Database, paths: Iterable[str]) -> set[str]:
    """Those of some files that the store still refers to."""
    return {file.path for file in _kept(store)}.intersection(paths)


def _short(store: Database, path: str) -> str:
    return path.removeprefix(f"{store.files.root}/")


def is_own(store: Database, path: str) -> bool:
    """Whether a file below the data path has a location and a name that only this store's files have.

    Other files must not be removed: a subfolder may contain another store, and users keep notes.
    """
    return re.fullmatch(_OWN, _short(store, path)) is not None


def known_files(store: Database) -> set[str]:
    """Names, without folders, of every file that is staged, that a kept snapshot refers to, or that is to be removed.

    The names of a store's files are unique (they end in random digits), so the folders are not needed.
    """
    names: set[str] = set()
    for table in ("ducklake_data_file", "ducklake_delete_file", "ducklake_files_scheduled_for_deletion"):
        names |= {row[0] for row in store.rows(f"select parse_filename(path) from {ducklake.METADATA}.{table}")}
    names |= {row[0] for row in store.rows("select parse_filename(file) from staged_files")}
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
