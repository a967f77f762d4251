"""`python -m benchmarks [NAME ...]`: measure and write RESULTS.md; with names, run only those and print the results.

With --json, each row is one JSON object on a line of its own, with numbers as numbers; other lines go to stderr.

With GPU=1 in the environment, the rows that need a GPU are added.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import click

from benchmarks import (
    calibration,
    commits,
    decoding,
    explorer,
    gpu,
    intervals,
    lake,
    memory,
    pages,
    photographs,
    probes,
    protocol,
    resampling,
    simulated,
    stores,
    throughput,
)
from benchmarks.measure import ROOT, Row

QUESTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "start-up": stores.start_up,
    "large-stores": stores.large_stores,
    "planning": stores.planning,
    "commits": commits.commits,
    "lake": lake.lake,
    "calibration": calibration.calibration,
    "bootstrap": resampling.bootstrap,
    "resampled-ace": resampling.resampled_ace,
    "intervals": intervals.intervals,
    "report": pages.report,
    "explorer": explorer.explorer,
    "probes": probes.probes,
    "host": simulated.host,
}
PASSES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "decoding": decoding.decoding,
    "one-model": throughput.one_model,
    "eight-models": throughput.eight_models,
    "protocol": protocol.protocol,
    "precisions": throughput.precisions,
    "memory": memory.memory,
    "simulated": simulated.simulated,
}
"""Benchmarks that need Ray; most of them the photographs in ../shared as well."""

PACKAGES = ("qubastore", "torch", "torchvision", "ray", "duckdb", "polars", "numpy", "pillow")


CHOSEN: dict[str, Callable[[Path], Iterator[Row]]] = {**QUESTIONS, **PASSES, **gpu.BENCHMARKS}


@click.command("benchmarks", help=f"Measure. NAMES: {', '.join(CHOSEN)}; without any, all of them, into RESULTS.md.")
@click.argument("names", nargs=-1, type=click.Choice(list(CHOSEN)), metavar="[NAMES]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row.")
def main(names: tuple[str, ...], as_json: bool) -> None:
    """Run the benchmarks and report the results."""
    started = time.monotonic()
    rows: list[Row] = []
    default = [*QUESTIONS, *PASSES, *(gpu.BENCHMARKS if os.environ.get("GPU") == "1" else ())]
    for name in names or default:
        if name not in (*QUESTIONS, "simulated") and not photographs.PHOTOGRAPHS.is_dir():
            print(f"{name}: skipped, it needs {photographs.PHOTOGRAPHS}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(prefix="qubastore-bench-") as folder, _ray(needed=name not in QUESTIONS):
            for row in CHOSEN[name](Path(folder)):
                rows.append(row)
                text = f"{row.what}\n  {row.ours} | {row.against} | {row.ratio} | {_met(row)} {row.note}"
                print(row.as_json() if as_json else text, flush=True)
    if not names:
        page = _page(rows, time.monotonic() - started)
        (ROOT / "benchmarks" / "RESULTS.md").write_text(page, encoding="utf-8")


@contextlib.contextmanager
def _ray(*, needed: bool) -> Iterator[None]:
    """A Ray instance for a benchmark, started before anything is timed."""
    if not needed:
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import logging

    import ray

    ray.init(
        object_store_memory=1_000_000_000, include_dashboard=False, log_to_driver=False, logging_level=logging.FATAL
    )
    try:
        yield
    finally:
        ray.shutdown()


def _met(row: Row) -> str:
    return {True: "met", False: "missed", None: "-"}[row.met]


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _page(rows: list[Row], seconds: float) -> str:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    lines = [
        "# Results",
        "",
        f"`make bench` on {time.strftime('%Y-%m-%d')}, {seconds / 60:.0f} minutes: {os.cpu_count()} cores ({cpu}),"
        f" {_gpu()}; Python {platform.python_version()}, {versions}.",
        "",
        "Medians of at least five alternating runs; the note has the spread. Both sides have equally warm caches.",
        "What was tried, and what did not help: [docs/decisions/0015](../docs/decisions/0015-how-speed-was-won.md).",
        "",
        "| what | qubastore | against, in the same run | comparison | aim | met | note |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.what} | {row.ours} | {row.against} | {row.ratio} | {row.aim} | {_met(row)} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
