"""The checks of a store, and the faults that they find.

A check of tables is a file in `sql/checks/`: one SELECT of `run` (null if the fault does not belong to a run), `shard`
if the fault belongs to one, and `found`. Its header describes the fault and how to repair it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

QUICK = (
    "unfinished_runs",
    "duplicate_rows",
    "shard_ranges",
    "summary_counts",
    "impossible_metrics",
    "relative_above_clean",
)
"""Checks that read only the per-run tables."""


DEEP = (
    "row_counts",
    "duplicate_samples",
    "impossible_outputs",
    "stale_sums",
    "stale_replicates",
    "softmaxed_twice",
    "batch_dependent",
    "feature_width",
)
"""Checks that read every row."""


SUMS = ("summary_counts", "impossible_metrics", "stale_sums", "stale_replicates")
"""Checks whose faults are repaired by recomputing the run's summaries."""


UNREADABLE = ("missing_files", "damaged_files", "files_gone")


SHARDS = ("missing_files", "damaged_files", "row_counts", "duplicate_samples", "impossible_outputs")
"""Checks whose faults are repaired by invalidating the shard, so that the next ingest computes it again."""


@dataclass(frozen=True)
class Fault:
    """A fault in a store.

    Attributes:
        check: Name of the check that found it.
        found: Description of the fault.
        repair: How to repair it.
        run_id: The affected run; None if it does not belong to a run.
        shard: The affected shard of the run; None if it does not belong to a shard.
        file: The affected file; empty if it does not belong to a file.
    """

    check: str
    found: str
    repair: str
    run_id: str | None = None
    shard: int | None = None
    file: str = ""


@dataclass(frozen=True)
class Check:
    """A check in SQL.

    Attributes:
        name: Its name, which is that of its file.
        says: What its findings mean.
        repair: How to repair a finding; `{run}` is replaced by the run.
        sql: One SELECT of run, optionally shard, and found.
    """

    name: str
    says: str
    repair: str
    sql: str


@cache
def checks() -> dict[str, Check]:
    """The checks in `sql/checks/`, by name."""
    found = {}
    for path in files("qubastore.sql").joinpath("checks").iterdir():
        if path.name.endswith(".sql"):
            text = path.read_text("utf-8")
            head = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
            lines = [line.removeprefix("--").strip() for line in head]
            says, _, repair = " ".join(lines).partition(" Repair: ")
            name = path.name.removesuffix(".sql")
            found[name] = Check(name, says.strip(), repair, text)
    return found
