"""Compact a store, as `qubastore compact` does: one file per run and table, and few files in the small tables.

Stores of releases up to schema 6 have a file per shard. New runs are published with one file per table and need no
compaction; the small tables are merged as runs are published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qubastore.errors import QueryError, StoreError
from qubastore.lake.database import Database
from qubastore.lake.tidy import SMALL_TABLES, drop_deleted_files, tidy
from qubastore.runs.outputs import KINDS
from qubastore.runs.publication import Damage, Publication, prepare
from qubastore.runs.publish import publish_runs, reader, runs_with_files, store_publications
from qubastore.runs.unpublished import unpublished_runs


@dataclass
class Compacted:
    """What was done.

    Attributes:
        runs: Ids of the runs whose files were merged.
        files_before: Number of their files before.
        files_after: Number of their files now.
        damaged: Shards that cannot be read; their runs are left as they are.
    """

    runs: list[str] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0
    damaged: list[Damage] = field(default_factory=list)


def scattered_runs(store: Database) -> dict[str, int]:
    """Run -> number of its files, for the complete runs that have more of them than publishing makes."""
    files: dict[str, int] = {}
    published = dict(store.rows("select run_id, count(*) from run_files group by run_id"))
    scattered = set()
    for (_, run_id), n in store.ask(runs_with_files).items():
        files[run_id] = files.get(run_id, 0) + n
        if n > 1:
            scattered.add(run_id)
    complete = {row[0] for row in store.rows("select run_id from run_summary")}
    return {
        run_id: files[run_id] for run_id in sorted(scattered & complete) if files[run_id] > published.get(run_id, 0)
    }


def compact(store: Database, *, report: Callable[[int, int], None] = lambda *_: None) -> Compacted:
    """Merge the files of runs and of small tables; every row and every number stays as it is.

    The old files are removed by `qubastore gc`, once no kept snapshot refers to them. A compaction that was killed can
    be repeated: what it had merged stays merged.

    Args:
        store: A store open for writing.
        report: Called with the number of runs that are merged, and of all that are to be.

    Raises:
        StoreError: On a full disk.
    """
    done = Compacted(damaged=[])
    publish_runs(store, damaged=done.damaged.append)
    todo = scattered_runs(store)

    def prepared() -> Iterator[Publication]:
        runs = unpublished_runs(store, list(todo), summarised=True) if todo else []
        for number, run in enumerate(runs):
            report(number, len(runs))
            try:
                publication = prepare(run, store.files, reader(store), only_files=True)
            except (StoreError, QueryError) as error:
                done.damaged.append(Damage(run.run_id, 0, "", str(error).splitlines()[0]))
                continue
            if publication.damaged:
                done.damaged += publication.damaged
            else:
                done.files_after += len(publication.files)
                yield publication
        report(len(runs), len(runs))

    done.runs = store_publications(store, prepared())
    done.files_before = sum(todo[run_id] for run_id in done.runs)
    if not done.damaged:  # it reads the files of all runs
        drop_deleted_files(store, KINDS)
    tidy(store, SMALL_TABLES, fully=True)
    return done
