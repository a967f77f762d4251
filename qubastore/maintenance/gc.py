"""`qubastore gc`: removing what nothing refers to. Never a file that a kept snapshot has."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qubastore.lake import ducklake
from qubastore.lake.database import Database
from qubastore.maintenance.files import orphans


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        snapshots: Snapshots that are too old to be kept.
        files: Files that only they referred to, or that nothing does.
    """

    snapshots: int
    files: list[str]


def collect(store: Database, *, keep_days: float, older_than: float, dry_run: bool = False) -> Collected:
    """Expire old snapshots and remove the files that nothing refers to.

    The order makes a kill harmless: a snapshot is forgotten before its files go, and what goes is noted by the catalog
    until it is gone.

    Args:
        store: A store open for writing.
        keep_days: Snapshots of the last so many days are kept, and the latest always.
        older_than: Seconds; a file written since may be of a shard that is about to be committed, and a reader may
            still have a snapshot open that was expired since.
        dry_run: Remove nothing.
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
