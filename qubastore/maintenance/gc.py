"""Remove old snapshots and unreferenced files, as `qubastore gc` does; files of a kept snapshot are never removed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.lake.ducklake import KEEP_DAYS
from qubastore.maintenance.files import orphans


@dataclass(frozen=True)
class Collected:
    """What was removed, or in a dry run would be.

    Attributes:
        snapshots: Number of expired snapshots.
        files: Files that only these snapshots referred to, or that nothing refers to.
    """

    snapshots: int
    files: list[str]


MANY = 1000
"""Number of snapshots that may be older. Each transaction makes one: an ingest on a cluster makes thousands."""


def expire_many(store: Database) -> int:
    """Expire snapshots older than `KEEP_DAYS` if there are `MANY`.

    Their files are left to `collect`: removing many takes long, and others would wait for it.

    Args:
        store: A store open for writing.

    Returns:
        The number of expired snapshots.
    """
    catalog = ducklake.quote(ducklake.CATALOG)
    query = f"select count(*) from ducklake_snapshots({catalog}) where snapshot_time < {_ago(KEEP_DAYS * 86_400)}"
    ((n,),) = store.rows(query)
    return 0 if n < MANY else len(_expire(store, KEEP_DAYS))


def collect(store: Database, *, keep_days: float, older_than: float, dry_run: bool = False) -> Collected:
    """Expire old snapshots and remove the files that nothing refers to.

    The order makes it safe to kill the process: a snapshot is expired before its files are removed, and the catalog
    lists files for removal until they are removed.

    Args:
        store: A store open for writing.
        keep_days: Keep the snapshots of this many days, and always the latest.
        older_than: Age in seconds; a younger file may belong to a shard that is about to be committed, and a reader may
            still have a recently expired snapshot open.
        dry_run: Only report what would be removed.
    """
    catalog = ducklake.quote(ducklake.CATALOG)
    expired = _expire(store, keep_days, dry_run=dry_run)
    idle = _ago(older_than)
    dry = f", dry_run => {str(dry_run).lower()}"
    cleaned = store.write(
        lambda c: c.execute(f"from ducklake_cleanup_old_files({catalog}, older_than => {idle}{dry})").fetchall()
    )
    lost = orphans(store, older_than, time.time())
    if not dry_run:
        for path in lost:
            store.files.remove(path)
    return Collected(len(expired), [row[0] for row in cleaned] + lost)


def _expire(store: Database, keep_days: float, *, dry_run: bool = False) -> list[tuple[Any, ...]]:
    """Expire snapshots and return them; the files that only they referred to are listed for removal."""
    catalog = ducklake.quote(ducklake.CATALOG)
    old = _ago(keep_days * 86_400)
    dry = f", dry_run => {str(dry_run).lower()}"
    return store.write(
        lambda c: c.execute(f"from ducklake_expire_snapshots({catalog}, older_than => {old}{dry})").fetchall()
    )


def _ago(seconds: float) -> str:
    """The time some seconds ago, in SQL."""
    return f"(now() - to_microseconds({round(seconds * 1e6)}))"
