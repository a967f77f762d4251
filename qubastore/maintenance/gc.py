"""Remove old snapshots and unreferenced files, as `qubastore gc` does; files of a kept snapshot are never removed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qubastore.lake import ducklake
from qubastore.lake.database import Database
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
    old = f"(now() - to_microseconds({round(keep_days * 86_400e6)}))"
    dry = f", dry_run => {str(dry_run).lower()}"
    expired = store.write(
        lambda c: c.execute(f"from ducklake_expire_snapshots({catalog}, older_than => {old}{dry})").fetchall()
    )
    idle = f"(now() - to_microseconds({round(older_than * 1e6)}))"
    cleaned = store.write(
        lambda c: c.execute(f"from ducklake_cleanup_old_files({catalog}, older_than => {idle}{dry})").fetchall()
    )
    lost = orphans(store, older_than, time.time())
    if not dry_run:
        for path in lost:
            store.files.remove(path)
    return Collected(len(expired), [row[0] for row in cleaned] + lost)
