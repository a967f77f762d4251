"""Benchmarks of stores: start-up, rankings over large stores, planning."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figures, Row, alternate, command_seconds, qubastore, timed
from benchmarks.synthetic import N_MODELS, store_of_shards, store_of_summaries

GROWTH = (10, 100, 1000)
"""Numbers of runs per model."""


def start_up(folder: Path) -> Iterator[Row]:
    """A cold start of `rank`, against the least time that any command using DuckDB can take."""
    import qubastore as package

    package.init(folder / "published").close()
    environment = {"QUBASTORE_STORE": str(folder / "published")}
    times = alternate(
        {
            "rank": lambda: command_seconds(*qubastore("rank"), environment=environment),
            "imports": lambda: command_seconds(sys.executable, "-c", "import duckdb, click"),
            "sql": lambda: command_seconds(*qubastore("sql", "select 1"), environment=environment),
            "help": lambda: command_seconds(*qubastore("--help")),
        },
        repeats=9,
    )
    rank, least = times["rank"], times["imports"]
    yield Row(
        "`qubastore rank`, cold start, 326 published models",
        f"{rank.median:.3f} s",
        f'`python -c "import duckdb, click"`: {least.median:.3f} s',
        f"overhead {1000 * (rank.median - least.median):.0f} ms",
        "under 0.5 s",
        rank.median < 0.5,
        f"{rank.spread}; `sql` {times['sql'].median:.3f} s, `--help` {times['help'].median:.3f} s",
        Figures("s", rank.median, least.median, rank.median / least.median),
    )


def large_stores(folder: Path) -> Iterator[Row]:
    """Rankings over 326 models with 10, 100 and 1,000 complete runs each."""
    commands = {
        # With 10 runs, no model has all nine dimensions.
        "rank": ("rank", "--source", "measured", "--partial"),
        "correlate": ("correlate",),
        "metric_values": ("sql", "select metric, count(*), avg(value) from metric_values group by all"),
    }
    for runs in GROWTH:
        store_of_summaries(folder / f"runs{runs}", runs)
    for name, arguments in commands.items():
        times = alternate(
            {
                str(runs): lambda runs=runs, arguments=arguments: command_seconds(
                    *qubastore(*arguments), environment={"QUBASTORE_STORE": str(folder / f"runs{runs}")}
                )
                for runs in GROWTH
            }
        )
        growth = ", ".join(f"{runs}: {times[str(runs)].median:.2f} s" for runs in GROWTH)
        middle = times["100"]
        factor = times["1000"].median / middle.median
        yield Row(
            f"`{name}`, {N_MODELS} models x 100 runs (1.3 billion rows stand behind them)",
            f"{middle.median:.2f} s",
            f"runs per model: {growth}",
            f"10 times the runs take {factor:.1f} times as long",
            "under 1 s, growth linear at most",
            middle.median < 1 and factor <= 10,
            middle.spread,
            Figures("s", middle.median, ratio=factor),
        )
    for runs in GROWTH:
        shutil.rmtree(folder / f"runs{runs}")


def planning(folder: Path) -> Iterator[Row]:
    """The reads before an ingest starts, with 100,000 committed shards."""
    import qubastore as package
    from qubastore.evaluators.planning.plan import _committed

    store_of_shards(folder / "shards", 100_000)
    with package.open(folder / "shards", read_only=False) as store:
        times = alternate({"plan": lambda: timed(lambda: _committed(store))})["plan"]
    yield Row(
        "resume planning, 100,000 shards committed",
        f"{times.median:.2f} s",
        "-",
        "-",
        "under 2 s",
        times.median < 2,
        times.spread,
        Figures("s", times.median),
    )
    shutil.rmtree(folder / "shards")
