"""Benchmarks of what surrounds forward passes: CPU time per image, and the share of a simulated accelerator's speed.

A simulated accelerator is a network whose forward pass takes a set time per image without holding the interpreter: the
rest of the machine has that time to prepare the next batches and to write what came before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmarks.commits import drivers_path
from benchmarks.measure import Figures, Row, in_process, timed
from benchmarks.workbench import AT_A_TIME, Workbench, chunks_in_memory
from qubastore.evaluators.worker.environment import cpu_environment
from qubastore.evaluators.worker.pipeline import Ahead, Behind

if TYPE_CHECKING:
    from qubastore.evaluators.cluster.jobs import Job
    from qubastore.evaluators.worker.messages import ShardResult
    from qubastore.runs.shard import Shard

BATCH, SHARD, N_IMAGES, SECONDS = 256, 8192, 1024, 64

SHARD_IN_RAY = 1024
"""So that the decoded images of two shards and of a third one on its way fit Ray's memory."""

SPEEDS = {1000: 0.95, 3000: 0.9, 6000: None}
"""Images per second of the simulated accelerators -> the share that must reach the store."""

NETWORKS = '''
import time

import torch

CONFIG = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}
MEAN, STD = torch.tensor((0.485, 0.456)), torch.tensor((0.229, 0.224))


class Accelerator(torch.nn.Module):
    """Logits from a table, by the number that the first pixel of an image holds; in a set time per image."""

    def __init__(self, speed):
        super().__init__()
        self.speed = speed
        generator = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(3 * torch.randn(1024, 1000, generator=generator))

    def forward(self, images):
        started = time.perf_counter()
        low, high = ((images[:, :2, 0, 0].float() * STD + MEAN) * 255).round().long().unbind(1)
        logits = self.table[(low + 256 * high) % len(self.table)]
        time.sleep(max(0, len(images) / self.speed - (time.perf_counter() - started)))
        return logits


class Free(torch.nn.Module):
    """Next to no work: patches of 32 x 32 pixels are averaged."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3 * 49, 1000)

    def forward(self, images):
        return self.head(images[:, :, 16::32, 16::32].flatten(1))


def free():
    return Free(), CONFIG
''' + "".join(f"\n\ndef at_{speed}():\n    return Accelerator({speed}), CONFIG\n" for speed in SPEEDS)


def host(folder: Path) -> Iterator[Row]:
    """What surrounds the forward pass costs, in CPU time of all threads per image of 224 pixels."""
    code = "import sys, pathlib; from benchmarks import simulated as s; RESULT = s.cost(pathlib.Path(sys.argv[1]))"
    costs = [in_process(code, str(folder), environment=cpu_environment(1))["cost"] for _ in range(5)]
    cost = float(np.median(costs))
    yield Row(
        "what surrounds a forward pass, CPU time of all threads per image of 224 pixels, a nearly free network",
        f"{cost:.2f} ms",
        "-",
        "-",
        "<= 0.6 ms",
        cost <= 0.6,
        f"{min(costs):.2f} to {max(costs):.2f} ms; from decoded images in memory to staged Parquet, one thread"
        " for torch",
        Figures("ms", cost),
    )
    code = "from benchmarks import simulated as s; RESULT = s.steps()"
    found = in_process(code, environment=cpu_environment(1))
    del found["peak_mib"]
    whole = sum(found.values())
    yield Row(
        "the same by step, each alone on one thread in batches of 256",
        f"{whole:.3f} ms",
        "-",
        "; ".join(f"{name}: {value:.3f}" for name, value in found.items()),
        "-",
        None,
        "milliseconds per image",
        Figures("ms", whole),
    )


def cost(folder: Path) -> dict[str, float]:
    """Milliseconds of CPU time of this process per image, with a nearly free network."""
    bench, chunks = _bench(folder, "free"), chunks_in_memory(SHARD)
    bench.images_per_second(1, SHARD, chunks)
    started = time.process_time()
    bench.images_per_second(2, SHARD, chunks)
    return {"cost": 1000 * (time.process_time() - started) / (2 * SHARD)}


def steps() -> dict[str, float]:
    """Milliseconds per image of the steps that surround a forward pass, one after another in this thread."""
    from qubastore.conditions import SIGNIFICANT_BITS
    from qubastore.evaluators.worker.normalisation import Normalisation
    from qubastore.evaluators.worker.recycled import Recycled
    from qubastore.hashing import checksum
    from qubastore.runs import outputs
    from qubastore.statistics import scores

    generator = np.random.default_rng(0)
    parts = list(generator.integers(0, 256, (BATCH, 224, 224, 3), np.uint8))
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    logits = (3 * generator.standard_normal((SHARD, 1000))).astype(np.float32)
    memory = Recycled()
    labels, ids = np.zeros((SHARD, 1), np.int32), np.arange(SHARD, dtype=np.int32)
    columns = scores.output_columns(logits, labels)
    rounded = scores.round_significant(logits, SIGNIFICANT_BITS["fp32"])
    table = outputs.vectors_table("run", ids, rounded)
    content = outputs.parquet_bytes(table)

    def narrow() -> None:
        outputs.parquet_bytes(outputs.outputs_table("run", ids, columns))

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "normalising": (lambda: normalisation.of_images(parts, memory), BATCH),
        "checks": (lambda: scores.check_logits(logits[:BATCH], model="network"), BATCH),
        "columns": (lambda: scores.output_columns(logits[:BATCH], labels[:BATCH]), BATCH),
        "rounding": (lambda: scores.round_significant(logits, SIGNIFICANT_BITS["fp32"]), SHARD),
        "Parquet of logits": (lambda: outputs.parquet_bytes(table), SHARD),
        "Parquet of outputs": (narrow, SHARD),
        "checksums": (lambda: checksum(content), SHARD),
    }
    found = {}
    for name, (work, n) in ways.items():
        work()
        found[name] = 1000 * float(np.median([timed(work) for _ in range(5)])) / n
    return found


def simulated(folder: Path) -> Iterator[Row]:
    """The share of a simulated accelerator's speed that reaches the store, through the core and through Ray."""
    for speed, aim in SPEEDS.items():
        yield from _shares(folder / str(speed), speed, aim)


def _shares(folder: Path, speed: int, aim: float | None) -> Iterator[Row]:
    ways = {
        "the worker's core": lambda: in_process(IN_PROCESS, str(folder), str(speed), environment=cpu_environment()),
        "Ray": lambda: measured(folder / "Ray", speed, SHARD_IN_RAY, _through_ray),
    }
    for way, measure in ways.items():
        found = measure()
        share = found["speed"] / found["alone"]
        yield Row(
            f"a simulated accelerator of {speed:,} images/s through {way}, from memory to committed Parquet",
            f"{found['speed']:.0f} images/s",
            f"its forward passes alone, batches of {BATCH}: {found['alone']:.0f} images/s",
            f"{share:.3f}",
            f">= {aim}" if aim else "-",
            share >= aim if aim else None,
            f"{found['seconds']:.0f} s from the first batch to the last staged file, {found['after']:.1f} s more until"
            f" all is committed; every row was checked{_waits(found)}",
            Figures("images/s", found["speed"], found["alone"], share),
        )


def _waits(found: dict[str, float]) -> str:
    """What the device waited for; an actor's is not known."""
    if not found["waited"]:
        return ""
    return f"; the device waited {found['waited']:.1%} of the time for batches, {found['held']:.1%} for collection"


IN_PROCESS = """
import sys
from pathlib import Path
from benchmarks import simulated
RESULT = simulated.measured(Path(sys.argv[1]) / "core", int(sys.argv[2]), simulated.SHARD, simulated.through_core)
"""
"""In a process of its own, with the environment of an evaluator."""


def measured(
    folder: Path, speed: int, size: int, evaluate: Callable[[_Committed], Iterator[tuple[Job, ShardResult, float]]]
) -> dict[str, float]:
    """Images per second with and without all that surrounds the forward passes, and how long it took.

    Args:
        folder: For the store.
        speed: Speed of the simulated accelerator.
        size: Samples per shard.
        evaluate: Evaluates all shards.
    """
    n_shards = max(2, -(-round(speed * SECONDS) // size))
    waits = {Ahead.__next__: 0.0, Behind.call: 0.0}

    def waiting(work: Any) -> Any:
        def timed_work(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                waits[work] += time.perf_counter() - began

        return timed_work

    with (
        _Committed(folder, speed, n_shards, size) as committed,
        mock.patch.object(Ahead, "__next__", waiting(Ahead.__next__)),
        mock.patch.object(Behind, "call", waiting(Behind.call)),
    ):
        alone = committed.bench.forward_alone(BATCH, 5.0)
        results = evaluate(committed)
        started = time.perf_counter()
        last = committed.take(results)
        after = time.perf_counter() - last
        committed.check()
    seconds = last - started
    waited, held = (value / seconds for value in waits.values())
    speed_in_all = n_shards * size / seconds
    return {"speed": speed_in_all, "alone": alone, "seconds": seconds, "after": after, "waited": waited, "held": held}


def _bench(folder: Path, name: str, data: str | None = None) -> Workbench:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "networks.py"
    file.write_text(NETWORKS)
    bench = Workbench(data or folder / "files", [f"python:{file}:{name}"], batch_size=BATCH, threads=1)
    bench.prepare()
    return bench


def _chunks(size: int) -> Callable[[int], list[Any]]:
    """Chunks of images, each of which holds its number in its first pixel."""
    chunks = chunks_in_memory(size, n_images=N_IMAGES)
    for chunk in chunks(0)[: N_IMAGES // 32]:
        numbers = np.asarray(chunk.sample_ids) % N_IMAGES
        chunk.pixels[:, 0, 0, 0], chunk.pixels[:, 0, 0, 1] = numbers % 256, numbers // 256  # type: ignore[index]
    return chunks


def through_core(committed: _Committed) -> Iterator[tuple[Job, ShardResult, float]]:
    """Evaluate all shards in this process; each result with the time at which its files were staged."""
    from qubastore.evaluators.worker.pipeline import overlapped

    chunks, evaluator = _chunks(committed.jobs[0].end), committed.bench.evaluator

    def one(job: Job) -> tuple[Job, ShardResult, float]:
        return job, evaluator.evaluate(job.request(set()), chunks(job.shard)), time.perf_counter()

    return overlapped(one, committed.jobs, AT_A_TIME)


def _through_ray(committed: _Committed) -> Iterator[tuple[Job, ShardResult, float]]:
    """The same with an actor, to which the chunks come through Ray's object store."""
    import ray

    from qubastore.evaluators.worker.actor import SHARDS, Evaluator

    bench, chunks = committed.bench, _chunks(SHARD_IN_RAY)
    kind: Any = ray.remote(concurrency_groups={SHARDS: AT_A_TIME})(Evaluator)
    actor = kind.options(num_cpus=0, runtime_env={"env_vars": cpu_environment()}).remote(bench.evaluator._settings)
    ray.get(actor.load.remote(bench.held[0].model, bench.sources[0]))
    ray.get(actor.size.remote(bench.model_ids[0], [committed.jobs[0].condition], {}))

    def results() -> Iterator[tuple[Job, ShardResult, float]]:
        waiting, running = list(committed.jobs), {}
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                job = waiting.pop(0)
                references = [ray.put(chunk) for chunk in chunks(job.shard)]
                request = job.request(set())
                running[actor.evaluate.options(concurrency_group=SHARDS).remote(request, references)] = job
            (done,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done), ray.get(done), time.perf_counter()
        ray.kill(actor)

    return results()


class _Committed:
    """A store with one run, to which shards are committed as the driver of an ingest does it.

    Args:
        folder: For the store.
        speed: The speed of the simulated accelerator.
        n_shards: Number of shards of the run.
        size: Samples per shard.
    """

    def __init__(self, folder: Path, speed: int, n_shards: int, size: int) -> None:
        import qubastore as package
        from qubastore.datasets.dataset import Dataset, Sample
        from qubastore.runs.run import Run

        self.store = store = package.init(folder / "store")
        self.bench = _bench(folder, f"at_{speed}", store.files.root)
        samples = tuple(Sample(f"{i:07d}.jpg", 1, i % 1000) for i in range(n_shards * size))
        data = Dataset("memory", samples, tuple(map(str, range(1000))), "own-classes", "/data")
        model = self.bench.held[0].model
        run = Run(model.model_id, data.dataset_id, len(samples), size)

        self._commits, self.jobs = drivers_path(store, data, [model], [run], ("outputs", "logits"))
        self._shards: list[Shard] = []

    def __enter__(self) -> _Committed:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def take(self, results: Iterable[tuple[Job, ShardResult, float]]) -> float:
        """Commit results as they come; return when the files of the last one were staged."""
        last = 0.0
        for job, result, staged in results:
            assert not result.errors, result.errors
            self._shards += result.shards
            self._commits.add(job, result)
            last = max(last, staged)
        self._commits.commit()
        return last

    def check(self) -> None:
        """Check every row: its logits are those of the table that its image names, rounded as they are kept."""
        import pyarrow.parquet as pq

        from qubastore.conditions import SIGNIFICANT_BITS
        from qubastore.statistics.scores import round_significant

        table = self.bench.held[0].module.get_parameter("table").detach().numpy()
        rounded = round_significant(table, SIGNIFICANT_BITS["fp32"])
        assert self.store.rows("select count(*) from shards") == [(len(self.jobs),)]
        seen = 0
        for shard in self._shards:
            found = pq.ParquetFile(shard.files["logits"]).read()
            ids = found["sample_id"].to_numpy()
            want = rounded[ids % N_IMAGES]
            assert np.array_equal(found["values"].combine_chunks().flatten().to_numpy().reshape(want.shape), want)
            narrow = pq.ParquetFile(shard.files["outputs"]).read()
            assert np.array_equal(narrow["sample_id"].to_numpy(), ids)
            assert np.array_equal(narrow["prediction"].to_numpy(), table[ids % N_IMAGES].argmax(axis=1))
            assert np.array_equal(narrow["label"].to_numpy(), ids % 1000)
            seen += len(ids)
        assert seen == self.jobs[-1].end
