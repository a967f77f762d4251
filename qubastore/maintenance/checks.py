"""Checks of a store: which there are, and what they find.

A check of what tables say is a file in `sql/checks/`: one SELECT of `run` (null where the fault is of no run), `shard`
where the fault is of one, and `found`. Its header says what is wrong and what repairs it.
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
