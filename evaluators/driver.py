"""The driver of an ingest: plans, has the missing shards evaluated, completes runs.

It may die at any time: what was committed stays, and the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from qubastore.completion import complete_runs
from qubastore.conditions import CLEAN, PRECISIONS, Condition
from qubastore.datasets import Dataset, image_folder
from qubastore.errors import UsageError, check_name
from qubastore.evaluators.cluster import cluster
from qubastore.evaluators.loaders import InMemoryModel
from qubastore.evaluators.plan import plan
from qubastore.evaluators.progress import Display, Silent
from qubastore.evaluators.schedule import IngestReport, Scheduler
from qubastore.models import ModelSpec
from qubastore.outputs import DEFAULT_KEEP, KINDS
from qubastore.store import Store

BATCH_SIZE = {"cpu": 32, "gpu": 256}


def ingest(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel | str],
    datasets: Sequence[Dataset] | Mapping[str, str | Path],
    *,
    conditions: Sequence[str] = (CLEAN,),
    precision: str = "fp32",
    keep: Sequence[str] = DEFAULT_KEEP,
    batch_size: int | None = None,
    num_gpus: int | None = None,
    num_cpus: int | None = None,
    address: str | None = None,
    limit: int | None = None,
    strict: bool = False,
    force: bool = False,
    dry_run: bool = False,
    display: Display | None = None,
) -> IngestReport:
    """Run models over datasets, once each, and keep what they said.

    Args:
        store: A store open for writing.
        models: `loader:name` texts, specs, or `InMemoryModel`s.
        datasets: Datasets, or name -> folder of class folders.
        conditions: How inputs are altered, each for every model and dataset: `clean`, `fgsm`, `pgd(steps=20)`.
        precision: `fp32`, `bf16` or `fp16` (autocast); part of the run's identity.
        keep: Of `outputs`, `logits`, `features`; outputs are always kept.
        batch_size: Images of a forward pass; None means 32 on CPUs, 256 on GPUs. Halved when memory runs out.
        num_gpus: GPUs to use; None means all that Ray sees, 0 means CPU evaluators.
        num_cpus: CPUs to use; None means all.
        address: A Ray cluster to join; None starts one on this machine.
        limit: Take that many images of each dataset, evenly spaced: a dataset of its own.
        strict: Make an image that cannot be decoded an error.
        force: Run everything anew and replace what is there.
        dry_run: Plan only; nothing is stored.
        display: Where to report to.

    Returns:
        What was done. Errors of single models are in it; others went on.

    Raises:
        QubastoreError: where nothing can be done, or `strict` met a bad image.

    Example:
        >>> from qubastore.evaluators import ingest
        >>> with qubastore.open("store", read_only=False) as store:  # doctest: +SKIP
        ...     ingest(store, ["timm:resnet18.a1_in1k"], {"imagenet-val": "/data/imagenet/val"})
    """
    started = time.monotonic()
    display = display or Silent()
    check_name("precision", precision, PRECISIONS)
    kinds = _kinds(keep)
    for name, value in (("batch size", batch_size), ("number of CPUs", num_cpus)):
        if value is not None and value < 1:
            raise UsageError(f"the {name} is {value}", expected="a number from 1 up")
    specs = [ModelSpec.parse(model) if isinstance(model, str) else model for model in models]
    if isinstance(datasets, Mapping):
        datasets = [image_folder(name, path) for name, path in datasets.items()]
    limited = [dataset.limited(limit) for dataset in datasets]
    with display:
        if not dry_run:
            # What a kill left undone comes first: a run may lack nothing but its sums.
            complete_runs(store)
        planned = plan(
            store,
            specs,
            limited,
            conditions=list({str(condition): condition for condition in map(Condition.parse, conditions)}.values()),
            precision=precision,
            keep=kinds,
            force=force,
            register=not dry_run,
            report=display.say,
        )
        report = IngestReport(planned)
        report.skipped = sum(p.run.n_shards - len(p.missing) for p in planned.runs)
        if dry_run or not planned.todo:
            return report
        with cluster(address, num_gpus, num_cpus) as resources:
            device = f"{resources.gpus} GPUs" if resources.gpus else f"the CPU ({resources.cpus} threads)"
            display.say(f"evaluating on {device}")
            size = batch_size or BATCH_SIZE["gpu" if resources.gpus else "cpu"]
            scheduler = Scheduler(store, planned, resources, size, precision, strict, display, report)
            for group in planned.groups():
                scheduler.work_on(group)
        display.say("computing metrics")
        report.completed = complete_runs(store)
    report.seconds = time.monotonic() - started
    return report


def _kinds(keep: Sequence[str]) -> tuple[str, ...]:
    for kind in keep:
        check_name("kind of output", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in keep or kind == "outputs")


__all__ = ["IngestReport", "ingest"]
