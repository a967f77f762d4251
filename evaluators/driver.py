"""The driver of an ingest: plans it, has the missing shards evaluated, and publishes complete runs.

It may be killed at any time: committed shards are kept, and the same command resumes from there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qubastore.conditions import DECODERS, FRAMINGS, NVJPEG, PILLOW, PRECISIONS, Condition
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.locating import left_out, own_datasets
from qubastore.errors import DatasetNotFoundError, IngestError, QubastoreError, StoreError, UsageError, check_name
from qubastore.evaluators.cluster.publisher import Publisher
from qubastore.evaluators.cluster.resources import cluster, describe, in_flight_bytes, may_have_gpus, places
from qubastore.evaluators.cluster.scheduler import Scheduler
from qubastore.evaluators.ingest_report import IngestReport
from qubastore.evaluators.loaders.source import InMemoryModel
from qubastore.evaluators.planning.find_datasets import find_suite
from qubastore.evaluators.planning.plan import Plan, plan
from qubastore.evaluators.planning.shard_sizes import with_shard_sizes
from qubastore.evaluators.planning.tasks import tasks_of
from qubastore.evaluators.progress import Display, Silent
from qubastore.evaluators.worker.batch_size import AUTO, CPU_DEFAULT
from qubastore.lake.ducklake import KEEP_DAYS
from qubastore.maintenance.gc import expire_many
from qubastore.metrics.suites import Role, Suite
from qubastore.models.spec import ModelSpec
from qubastore.models.zoo import expand_models
from qubastore.runs.outputs import KINDS
from qubastore.runs.publication import Damage
from qubastore.runs.sessions import NOTED, active_session, forget_dead, killed
from qubastore.store import Store


def ingest(
    store: Store,
    models: Sequence[ModelSpec | InMemoryModel | str],
    datasets: Sequence[Dataset] | Mapping[str, str | Path] = (),
    *,
    suite: Suite | str | None = None,
    data_root: str | Path | None = None,
    conditions: Sequence[str] | None = None,
    framing: str | None = None,
    precision: str = "fp32",
    decoder: str | None = None,
    keep: Sequence[str] | None = None,
    batch_size: int | str | None = None,
    num_gpus: int | None = None,
    num_cpus: int | None = None,
    address: str | None = None,
    evaluators_per_gpu: int = 1,
    limit: int | None = None,
    strict: bool = False,
    intervals: bool = False,
    force: bool = False,
    dry_run: bool = False,
    display: Display | None = None,
) -> IngestReport:
    """Run models over datasets, once each, and keep their outputs.

    Args:
        store: A store open for writing.
        models: `loader:name` or `zoo:name` texts, specs, or `InMemoryModel`s.
        datasets: Datasets, or name -> folder of class folders.
        suite: A suite or its name: its conditions and framings are run on its datasets. Datasets that are not given
            are searched for under `data_root`; missing ones are reported and skipped.
        data_root: Folder with datasets in the layouts of `qubastore.datasets.catalogue`.
        conditions: How inputs are altered, each for every model and dataset: `clean`, `fgsm`, `pgd(steps=20)`. None
            means the suite's conditions, else `clean`.
        framing: `model` or `whole`, for every dataset. None means the suite's framing, else each dataset's own.
        precision: `fp32`, `bf16` or `fp16` (autocast), with the suffix `-compiled` for torch.compile; part of the run's
            identity.
        decoder: What decodes and resizes the images, one of `conditions.DECODERS`; part of the run's identity. `nvjpeg`
            needs GPUs. None means the suite's decoder, else `pillow`.
        keep: What to keep: `outputs`, `logits`, `features`; outputs are always kept. None means outputs and logits, or
            only outputs for ImageNet-C.
        batch_size: Images per forward pass. `auto`, the default on GPUs, is the largest power of two that fits, found
            once per model, device and kind of work, and remembered in the store; the default on CPUs is 32. It is
            halved when memory runs out.
        num_gpus: GPUs to use; None means all that Ray sees, 0 means CPU evaluators.
        num_cpus: CPUs to use; None means all.
        address: A Ray cluster to join; None starts one on this machine.
        evaluators_per_gpu: Evaluators that share a GPU, or a node where there are no GPUs.
        limit: Use only this many images of each dataset, evenly spaced; stored as a separate dataset.
        strict: Raise an error if an image cannot be decoded or a dataset is missing.
        intervals: Resample the images of each run when it is published, on a worker, so that the first ranking with
            intervals has nothing to compute (`qubastore.runs.replicates`). Runs that were published before are
            resampled when they are ranked.
        force: Run everything again and replace existing results.
        dry_run: Only plan; nothing is stored.
        display: Where to report to.

    Returns:
        What was done. It holds the errors of single models, which do not stop the others.

    Raises:
        QubastoreError: if nothing can be run, or on a bad image with `strict`.

    Example:
        >>> from qubastore.evaluators import ingest
        >>> with qubastore.open("store", read_only=False) as store:  # doctest: +SKIP
        ...     ingest(store, ["timm:resnet18.a1_in1k"], {"imagenet-val": "/data/imagenet/val"})
    """
    started = time.monotonic()
    display = display or Silent()
    check_name("precision", precision, PRECISIONS)
    kinds = _kinds(keep) if keep is not None else None
    if framing is not None:
        check_name("framing", framing, FRAMINGS)
    if isinstance(suite, str):
        suite = stored_suite(store, suite)
    decoder = check_name("decoder", decoder or (suite.decoder if suite is not None else PILLOW), DECODERS)
    if decoder == NVJPEG and not may_have_gpus(address, num_gpus):
        raise _needs_gpus("--num-gpus 0" if num_gpus == 0 else "no GPU")
    for name, value in (
        ("batch size", None if batch_size == AUTO else batch_size),
        ("number of CPUs", num_cpus),
        ("number of evaluators per GPU", evaluators_per_gpu),
    ):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UsageError(f"the {name} is {value}", expected="a number from 1 up")
    named, not_loadable = expand_models(
        [model for model in models if isinstance(model, str)], suite.name if suite is not None else None
    )
    specs = [*(model for model in models if not isinstance(model, str)), *named]
    if isinstance(datasets, Mapping):
        datasets = [found for name, path in datasets.items() for found in own_datasets(name, path)]
    parsed = [condition for text in conditions or () for condition in Condition.parse_all(text)]
    altered = list({str(condition): condition for condition in parsed}.values())
    with display:
        if not dry_run:
            # First finish what a kill interrupted: a run may have all shards but no summaries yet.
            Publisher(store, display, intervals=intervals).publish_rest()
        for entry in not_loadable:
            display.log(f"left out: zoo:{entry.name} {entry.status}")
        missing: list[tuple[str, QubastoreError]] = []
        if suite is not None:
            located, missing = find_suite(suite.datasets, [dataset.name for dataset in datasets], data_root)
            datasets = [*datasets, *located]
            _report_missing(missing, suite, display, strict=strict, found=len(datasets))
        if suite is not None and decoder != suite.decoder:
            display.log(
                f"runs decoded by {decoder} do not count for suite {suite.name}, whose decoder is {suite.decoder}"
            )
        tasks = tasks_of([dataset.limited(limit) for dataset in datasets], suite, altered, framing)
        settings = _Settings(batch_size, precision, strict, num_gpus, num_cpus, address, evaluators_per_gpu, intervals)

        def planned_now(*, force: bool) -> Plan:
            return plan(
                store,
                specs,
                tasks,
                precision=precision,
                decoder=decoder,
                keep=kinds,
                batch_size=batch_size if isinstance(batch_size, int) else None,
                force=force,
                register=not dry_run,
                log=display.log,
            )

        planned = planned_now(force=force)
        report = IngestReport(planned, errors=list(planned.errors), missing=missing)
        report.skipped = sum(p.run.n_shards - len(p.missing) for p in planned.runs)
        if not dry_run and not planned.todo and killed(store.rows(NOTED)):
            # An ingest that was killed when only its own session was left to remove.
            store.write(forget_dead, repeatable=True)
        if not dry_run and planned.todo and _evaluate(store, planned, settings, display, report):
            # Shards whose files were damaged before they were merged; once more, then it is left to the next ingest.
            _evaluate(store, planned_now(force=False), settings, display, report)
        if report.completed:
            with contextlib.suppress(StoreError):  # what was published is stored; the next ingest tries again
                if n := expire_many(store):
                    age = f"older than {KEEP_DAYS:g} days"
                    display.log(f"{n:,} snapshots {age} expired; qubastore gc removes their files")
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True)
class _Settings:
    """How an ingest evaluates; see `ingest` for the meaning."""

    batch_size: int | str | None
    precision: str
    strict: bool
    num_gpus: int | None
    num_cpus: int | None
    address: str | None
    evaluators_per_gpu: int
    intervals: bool


def _evaluate(store: Store, planned: Plan, settings: _Settings, display: Display, report: IngestReport) -> list[Damage]:
    """Evaluate what a plan lacks, and publish it; return the shards that were damaged before they were published."""
    todo = planned.todo
    note = active_session(store, [p.run.run_id for p in todo], sum(p.n_images for p in todo), settings.address)
    publisher = Publisher(store, display, intervals=settings.intervals)
    with note as driver:
        with cluster(settings.address, settings.num_gpus, settings.num_cpus, settings.evaluators_per_gpu) as resources:
            display.log(f"evaluating on {describe(resources)}")
            on_gpu = resources.gpus > 0
            if not on_gpu and any(p.run.decoder == NVJPEG for p in todo):
                raise _needs_gpus("a Ray cluster without GPUs")
            size = _batch_size(settings.batch_size, on_gpu=on_gpu)
            planned = with_shard_sizes(
                store,
                planned,
                on_gpu=on_gpu,
                evaluators=len(places(resources)),
                room=in_flight_bytes(),
                batch_size=settings.batch_size if isinstance(settings.batch_size, int) else None,
                driver=driver,
            )
            with Scheduler(
                store, planned, resources, size, settings.precision, settings.strict, display, report, publisher, driver
            ) as scheduler:
                for group in planned.groups():
                    scheduler.work_on(group)
            publisher.finish()
        display.log("computing metrics")
        publisher.publish_rest()
    report.completed += publisher.published
    return publisher.damaged


def _batch_size(requested: int | str | None, *, on_gpu: bool) -> int | None:
    """Images per forward pass; None means as many as fit."""
    if requested is None:
        return None if on_gpu else CPU_DEFAULT
    return None if requested == AUTO else int(requested)


def stored_suite(store: Store, name: str) -> Suite:
    """The suite of a name, built-in or defined in the store.

    Raises:
        UsageError: for an unknown name.
    """
    rows = store.rows(
        "select suite, role, dataset, n_samples, condition, framing, coalesce(label_space, ''), decoder"
        " from suites order by suite, role, dataset"
    )
    check_name("suite", name, sorted({row[0] for row in rows}))
    roles = [row[1:] for row in rows if row[0] == name]
    return Suite(name, tuple(Role(*role[:-1]) for role in roles), decoder=roles[0][-1])


def _needs_gpus(found: str) -> IngestError:
    return IngestError(
        f"the decoder {NVJPEG} decodes on GPUs", found=found, hint="--decoder torchvision, or --decoder pillow"
    )


def _report_missing(
    missing: Sequence[tuple[str, QubastoreError]], suite: Suite, display: Display, *, strict: bool, found: int
) -> None:
    """Log which datasets are missing, in one line for all parts of a corruption set.

    Raises:
        DatasetError: if no dataset was found, or one is missing with `strict`.
    """
    if missing and (strict or not found):
        raise missing[0][1]
    sets: dict[str, list[QubastoreError]] = {}
    for name, error in missing:
        sets.setdefault(name.partition("/")[0], []).append(error)
    for name, errors in sets.items():
        display.log(left_out(errors, sum(each.partition("/")[0] == name for each in suite.datasets)))
        if not isinstance(errors[0], DatasetNotFoundError):
            display.log("\n".join(str(errors[0]).splitlines()[1:]))


def _kinds(keep: Sequence[str]) -> tuple[str, ...]:
    for kind in keep:
        check_name("kind of output", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in keep or kind == "outputs")


__all__ = ["IngestReport", "ingest"]
