"""`qubastore bench`: figures of forward passes on this machine's device, kept in the store."""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.errors import IngestError, UsageError
from qubastore.evaluators import InMemoryModel, bench
from qubastore.evaluators.devices import Energy, processor_name
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.timed_passes import Passes
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.messages import Settings
from qubastore.models.spec import ModelSpec

CONFIG = {"input_size": (3, 32, 32)}


class Deaf(torch.nn.Module):
    """Fails in batches of more than one image."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, images):
        if len(images) > 1:
            raise ValueError("one at a time")
        return images.mean((2, 3)) * self.scale


def test_figures_are_stored_once_per_model_device_runtime_and_precision(store, tiny_models):
    models = [f"python:{tiny_models}:{name}" for name in ("first", "second")]
    for _ in range(2):
        report = bench(store, models, device="cpu", precisions=["fp32", "bf16"], threads=1, seconds=0.02)
        assert not report.errors
    rows = store.rows(
        "select model, precision, device, runtime, height, width, latency_ms, latency_p99_ms, n_latencies, batch_size,"
        " images_per_second, peak_memory_mb, energy_j from benchmarks order by model, precision"
    )
    names = [f"python:tiny_models.py:{name}" for name in ("first", "second")]
    assert [row[:2] for row in rows] == [(name, precision) for name in names for precision in ("bf16", "fp32")]
    for _, _, device, runtime, height, width, p50, p99, n, batch, speed, memory, energy in rows:
        assert device == processor_name(1)
        assert device.endswith(", 1 thread")
        assert runtime == f"torch {torch.__version__.partition('+')[0]}"
        assert (height, width, memory, energy) == (32, 32, None, None)
        assert 0 < p50 <= p99
        assert n >= 100
        assert batch in (1, 2, 4, 8, 16, 32, 64)
        assert speed > 0
    # The models are in the store as an ingest would store them.
    assert store.rows("select count(*) from models") == [(2,)]


def test_a_model_that_fails_does_not_stop_the_others(store, tiny_models):
    broken = InMemoryModel("deaf", Deaf(), CONFIG)
    report = bench(store, [broken, f"python:{tiny_models}:first"], device="cpu", threads=1, seconds=0.02)
    assert [name for name, _ in report.errors] == ["deaf"]
    assert "one at a time" in str(report.errors[0][1])
    assert [name for name, _ in report.benchmarks] == ["python:tiny_models.py:first"]
    assert store.rows("select model from benchmarks") == [("python:tiny_models.py:first",)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_other_device_is_taken_silently(store, tiny_models):
    with pytest.raises(IngestError, match="torch finds no GPU"):
        bench(store, [f"python:{tiny_models}:first"], device="gpu")
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        bench(store, [f"python:{tiny_models}:first"], device="tpu")
    with pytest.raises(UsageError, match="unknown precision 'fp8'"):
        bench(store, [f"python:{tiny_models}:first"], precisions=["fp8"])


@pytest.fixture
def passes(tmp_path, tiny_models):
    evaluator = ShardEvaluator(Settings(str(tmp_path), "fp32", 1, False, 1))
    source = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first"))
    model = describe(source.load())
    evaluator.load(model, source)
    return Passes(evaluator, evaluator._models[model.model_id], (32, 32), 0.01)


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        # Batches of 1, 2, 4, ...: the fastest one; two that gain nothing end the search.
        ({1: 10, 2: 19, 4: 30, 8: 30.1, 16: 29, 32: 99}, (8, 30.1)),
        ({1: 10, 2: 9, 4: 12, 8: 20, 16: 18, 32: 17}, (8, 20)),
        ({1: 10, 2: 20, 4: 40, 8: None}, (4, 40)),
        ({1: 10, 2: 20, 4: 40, 8: 80, 16: 160, 32: 320, 64: 640}, (64, 640)),
    ],
)
def test_the_fastest_batch(passes, monkeypatch, speeds, best):
    def speed(batch):
        if speeds[batch] is None:
            raise torch.OutOfMemoryError("full")
        return speeds[batch]

    monkeypatch.setattr(passes, "_speed", speed)
    assert passes.fastest_batch(64) == best


def test_a_network_that_does_not_fit_is_an_error(passes, monkeypatch):
    def speed(batch):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(passes, "_speed", speed)
    with pytest.raises(torch.OutOfMemoryError):
        passes.fastest_batch(64)


def test_energy_is_per_image(passes):
    """A counter that gains 6 J a pass: 6 / 8 J for each of 8 images."""
    joules = SimpleNamespace(passes=0)
    counter = SimpleNamespace(joules=lambda: 6.0 * joules.passes)
    run = passes._run

    def counted(inputs):
        joules.passes += 1
        return run(inputs)

    passes._run = counted
    assert passes.energy(8, counter) == pytest.approx(0.75)


def test_compiled_code_is_compiled_for_every_batch_size(tmp_path, tiny_models, monkeypatch):
    """torch compiles a function for eight shapes and then runs it as it is; a benchmark forgets earlier ones."""
    evaluator = ShardEvaluator(Settings(str(tmp_path), "fp32-compiled", 1, False, 1))
    source = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first"))
    model = describe(source.load())
    evaluator.load(model, source)
    held = evaluator._models[model.model_id]
    compiled = []

    def backend(graph, inputs):
        compiled.append(len(inputs[-1]) if inputs else 0)
        return graph.forward

    with_backend = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, "compile", with_backend)
    passes = Passes(evaluator, held, (32, 32), 0.001)
    assert passes.fastest_batch(1024)[0] in {2**power for power in range(11)}
    sizes = len(compiled)
    for size in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        passes._speed(size)
    assert len(compiled) == sizes + 10


def test_a_network_that_failed_is_not_held(store, tiny_models):
    report = bench(
        store,
        [f"python:{tiny_models}:nan_logits", InMemoryModel("deaf", Deaf(), CONFIG)],
        device="cpu",
        threads=1,
        seconds=0.001,
    )
    assert report.errors
    for _, error in report.errors:
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


class NvmlError(Exception):
    pass


def nvml(counts):
    """NVML with a counter in millijoules, for a machine without a GPU."""

    def consumption(handle):
        assert handle == "handle of GPU-1-2"
        if counts is None:
            raise NvmlError("not supported")
        return counts.pop(0)

    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=consumption,
    )


def test_energy_is_counted_where_nvml_counts_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1-2"))
    monkeypatch.setitem(sys.modules, "pynvml", nvml([7000, 7500]))
    counter = Energy.of_this_gpu()
    assert counter is not None
    assert counter.joules() == 7.5
    monkeypatch.setitem(sys.modules, "pynvml", nvml(None))
    assert Energy.of_this_gpu() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Energy.of_this_gpu() is None


def test_on_the_command_line(empty_store, tmp_path, tiny_models, monkeypatch):
    path = tmp_path / "store"
    qubastore.init(path).close()
    monkeypatch.setenv("COLUMNS", "200")
    words = ["bench", "-m", f"python:{tiny_models}:first", "--device", "cpu", "--seconds", "0.02", "--store", str(path)]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0, shown.output
    assert "images_per_second" in shown.stdout
    assert "python:tiny_models.py:first, fp32: measured on" in shown.stderr
    listed = CliRunner().invoke(cli, ["show", "benchmarks", "--store", str(path)])
    assert "python:tiny_models.py:first" in listed.output
    failed = CliRunner().invoke(cli, [*words[:2], f"python:{tiny_models}:no_such", *words[3:]])
    assert isinstance(failed.exception, IngestError)
    assert "could not be measured" in str(failed.exception)
