"""`python -m benchmarks.growth`: how cost grows with samples, classes, models, runs, shards, files: docs/growth.svg."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.lake import make_lake
from benchmarks.lake_questions import ALL_RUNS, ONE_RUN
from benchmarks.measure import ROOT, command_seconds, qubastore
from benchmarks.synthetic import store_of_shards, store_of_summaries

REPEATS = 3


@dataclass
class Line:
    """The seconds of an operation over one measure of size."""

    what: str
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def measure(self, size: int, work: Callable[[], object]) -> None:
        """Add the median time of a few repeats."""
        found = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
        self.sizes.append(size)
        self.seconds.append(statistics.median(found))
        print(f"{self.what}: {size:,}: {self.seconds[-1]:.3f} s", flush=True)


def summarising(folder: Path, what: str, sizes: list[tuple[int, int]], *, over: int) -> Line:
    """Time summarising a run and computing its metrics from stored logits; sizes are (samples, classes)."""
    import qubastore as package
    from qubastore.runs.publish import publish_runs
    from qubastore.runs.removal import SUMMARY_TABLES
    from tests.support.runs import add_run

    line = Line(what)
    for samples, classes in sizes:
        generator = np.random.default_rng(0)
        logits = generator.normal(size=(samples, classes)).astype(np.float32)
        with package.init(folder / "run") as store:
            add_run(store, logits, generator.integers(0, classes, samples), shard_size=1024, bits=16, complete=False)

            def work(store: package.Store = store) -> None:
                publish_runs(store)

            def forget(store: package.Store = store) -> None:
                for table in SUMMARY_TABLES:
                    store.write(lambda c, table=table: c.execute(f"delete from {table}"))

            times = []
            for _ in range(REPEATS):
                forget()
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
            line.sizes.append((samples, classes)[over])
            line.seconds.append(statistics.median(times))
            print(f"{what}: {samples:,} x {classes:,}: {line.seconds[-1]:.3f} s", flush=True)
        shutil.rmtree(folder / "run")
    return line


def ranking(folder: Path) -> list[Line]:
    """Time a cold start of `qubastore rank`, over models and over runs per model."""
    lines = [Line("rank: models, 86 runs each"), Line("rank: runs per model, 326 models")]
    for line, sizes in zip(
        lines, ([(33, 86), (326, 86), (3260, 86)], [(326, 100), (326, 300), (326, 1000)]), strict=True
    ):
        for models, runs in sizes:
            store_of_summaries(folder / "ranked", runs, models)
            command = qubastore("rank", "--source", "measured")
            environment = {"QUBASTORE_STORE": str(folder / "ranked")}
            size = models if line is lines[0] else runs
            line.measure(size, lambda c=command, e=environment: command_seconds(*c, environment=e))
            shutil.rmtree(folder / "ranked")
    return lines


def planning(folder: Path) -> Line:
    """Time reading which shards exist, the first step of a resume."""
    import qubastore as package
    from qubastore.evaluators.planning.plan import _committed

    line = Line("planning a resume: shards")
    for shards in (1_000, 10_000, 100_000, 1_000_000):
        store_of_shards(folder / "shards", shards)
        with package.open(folder / "shards", read_only=False) as store:
            line.measure(shards, lambda store=store: _committed(store))
        shutil.rmtree(folder / "shards")
    return line


def questions(folder: Path) -> list[Line]:
    """Time questions to outputs over the number of runs, each with a file of 1,000 rows."""
    import qubastore as package

    lines = [Line("accuracy of one run: files of outputs"), Line("accuracy of every run: files of outputs")]
    for n_runs in (100, 1_000, 10_000):
        make_lake(folder / "lake", n_runs)
        with package.open(folder / "lake") as store:
            ((run,),) = store.rows("select min(run_id) from runs")
            for line, query in zip(lines, (ONE_RUN.format(run=run), ALL_RUNS), strict=True):
                store.rows(query)
                line.measure(n_runs, lambda store=store, query=query: store.rows(query))
        shutil.rmtree(folder / "lake")
    return lines


def draw(lines: list[Line], path: Path) -> None:
    """Draw a log-log plot; dotted lines show proportional growth."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "qubastore", "svg.fonttype": "none", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.5))
    colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
    for line, colour, marker in zip(lines, colours, "osD^vP*", strict=True):
        axes.loglog(line.sizes, line.seconds, marker=marker, color=colour, label=line.what)
        proportional = [line.seconds[0] * size / line.sizes[0] for size in line.sizes]
        axes.loglog(line.sizes, proportional, linestyle=":", color=colour, linewidth=0.8)
    axes.set(xlabel="size", ylabel="seconds (median of 3)", ylim=(0.005, 30))
    axes.grid(visible=True, which="major", linewidth=0.3)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("How cost grows on two cores; dotted: in proportion to the size", fontsize=10, loc="left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, and draw the plot."""
    with tempfile.TemporaryDirectory(prefix="qubastore-growth-") as name:
        folder = Path(name)
        lines = [
            summarising(
                folder,
                "metrics of a run: samples, 1,000 classes",
                [(1_000, 1_000), (5_000, 1_000), (20_000, 1_000), (50_000, 1_000)],
                over=0,
            ),
            summarising(
                folder,
                "metrics of a run: classes, 10,000 samples",
                [(10_000, 10), (10_000, 100), (10_000, 1_000), (10_000, 5_000)],
                over=1,
            ),
            *ranking(folder),
            planning(folder),
            *questions(folder),
        ]
    draw(lines, ROOT / "docs" / "growth.svg")


if __name__ == "__main__":
    main()
