"""The core of an evaluator in this process: without Ray or a store, with shards side by side, with failing models."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from qubastore.conditions import SIGNIFICANT_BITS, Condition
from qubastore.datasets.label_spaces import LABEL_SPACES
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.worker import collected
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.images import Decoded
from qubastore.evaluators.worker.messages import Settings, ShardRequest
from qubastore.evaluators.worker.normalisation import Normalisation, in_unit_range
from qubastore.evaluators.worker.pipeline import overlapped
from qubastore.evaluators.worker.recycled import Recycled
from qubastore.evaluators.worker.transfers import CpuTransfers
from qubastore.models.spec import ModelSpec
from qubastore.statistics import scores

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCKED = ("ray", "duckdb", "polars", "click", "open_clip", "rich", "timm", "torchvision")

WITHOUT = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.evaluators.worker.messages import Settings, ShardRequest
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.conditions import Condition

folder, file, image = sys.argv[1:]
source = ModelSource.of(ModelSpec.parse(f"python:{{file}}:first"))
model = describe(source.load())
evaluator = ShardEvaluator(Settings(folder, "fp32", None, False, 1))
evaluator.load(model, source)
evaluator.size(model.model_id, [Condition.parse("clean")], {{}})
prepare = Preprocessing(crop=(32, 32), resize=(32, 32))
chunk = decode([SampleFile(0, "0", image), SampleFile(1, "1", image)], prepare)
keep = {{model.model_id: ("outputs", "logits", "features")}}
labels = np.zeros((2, 1), np.int32)
name = model.model_id
request = ShardRequest(0, 0, 2, labels, {{name: "run"}}, {{name: 3}}, {{name: "own-classes"}}, keep)
result = evaluator.evaluate(request, [chunk])
assert not result.errors, result.errors
print(sorted(result.shards[0].files))
"""


def test_a_shard_needs_torch_numpy_pillow_and_pyarrow_only(tmp_path, tiny_models, images):
    image = next(images.rglob("*.png"))
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path), str(tiny_models), str(image)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "['features', 'logits', 'outputs']"


class Bench:
    """An evaluator with some tiny models, and shards of random images of 32 x 32 pixels."""

    def __init__(self, folder, file, names, batch_size=None):
        self.evaluator = ShardEvaluator(Settings(str(folder), "fp32", batch_size, False, 1))
        self.models = {}
        for name in names:
            source = ModelSource.of(ModelSpec.parse(f"python:{file}:{name}"))
            model = describe(source.load())
            self.evaluator.load(model, source)
            self.models[name] = model.model_id
        for model_id in self.models.values():
            self.evaluator.size(model_id, [Condition.parse("clean")], {})

    def shard(self, number, size=48, bad=(), keep=("outputs", "logits"), wrap=iter):
        generator = np.random.default_rng(number)
        pixels = generator.integers(0, 256, (size, 32, 32, 3), np.uint8)
        chunks = []
        for first in range(0, size, 16):
            places = [place for place in range(first, min(first + 16, size)) if place not in bad]
            chunks.append(Decoded([number * size + place for place in places], pixels[places]))
        request = ShardRequest(
            number,
            number * size,
            size,
            generator.integers(0, 3, (size, 1)).astype(np.int32),
            {model_id: name for name, model_id in self.models.items()},
            dict.fromkeys(self.models.values(), 3),
            dict.fromkeys(self.models.values(), "own-classes"),
            dict.fromkeys(self.models.values(), keep),
        )
        return self.evaluator.evaluate(request, wrap(chunks))


def contents(result):
    return {
        (shard.run_id, kind): pq.ParquetFile(path).read().to_pydict()
        for shard in result.shards
        for kind, path in shard.files.items()
    }


def test_shards_side_by_side_are_those_one_after_another(tmp_path, tiny_models):
    bench = Bench(tmp_path, tiny_models, ["first", "second"], batch_size=8)
    alone = [contents(bench.shard(number, bad={3, 17})) for number in range(6)]
    together = list(overlapped(lambda number: contents(bench.shard(number, bad={3, 17})), range(6), 3))
    assert alone == together
    assert alone[0] != alone[1]
    assert alone[1]["first", "logits"]["sample_id"] == [48 + place for place in range(48) if place not in (3, 17)]


def test_every_output_is_that_of_its_own_image(tmp_path, tiny_models):
    """Against the network itself, batch by batch, with columns from NumPy."""
    bench = Bench(tmp_path, tiny_models, ["first"], batch_size=16)
    found = contents(bench.shard(2))
    held = bench.evaluator._models[bench.models["first"]]
    pixels = np.random.default_rng(2).integers(0, 256, (48, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        parts = [
            held.module(held.normalise(torch.from_numpy(part.transpose(0, 3, 1, 2).copy()).float() / 255))
            for part in np.split(pixels, 3)
        ]
    want = torch.cat(parts).numpy()
    rounded = scores.round_significant(want, SIGNIFICANT_BITS["fp32"])
    assert np.array_equal(np.array(found["first", "logits"]["values"], np.float32), rounded)
    assert found["first", "outputs"]["prediction"] == want.argmax(axis=1).tolist()


def test_a_model_that_fails_does_not_stop_the_others(tmp_path, tiny_models):
    bench = Bench(tmp_path, tiny_models, ["first"], batch_size=16)
    whole = contents(bench.shard(0))
    grouped = Bench(tmp_path, tiny_models, ["nan_logits", "first"], batch_size=16)
    result = grouped.shard(0)
    assert "returned nan" in str(result.errors[grouped.models["nan_logits"]])
    assert contents(result) == whole


class OnDevice(CpuTransfers):
    """As with a GPU: columns are computed with torch in the thread of the device."""

    columns_on_device = True


@pytest.mark.parametrize("keep", [("outputs",), ("outputs", "logits", "features")])
def test_columns_from_a_device_are_those_of_the_host(tmp_path, tiny_models, keep, monkeypatch):
    host = Bench(tmp_path, tiny_models, ["first", "second"], batch_size=16)
    device = Bench(tmp_path, tiny_models, ["nan_logits", "first", "second"], batch_size=16)
    monkeypatch.setattr(collected, "VALUES_AT_A_TIME", 15)  # blocks of five rows
    device.evaluator._transfers = OnDevice()
    want, result = contents(host.shard(0, bad={3}, keep=keep)), device.shard(0, bad={3}, keep=keep)
    assert "returned nan" in str(result.errors.pop(device.models["nan_logits"]))
    assert not result.errors
    found = contents(result)
    assert found.keys() == want.keys() == {(run, kind) for run in ("first", "second") for kind in keep}
    for key, columns in want.items():
        for name, values in columns.items():
            if name.endswith("id"):
                assert found[key][name] == values
            else:
                np.testing.assert_allclose(found[key][name], values, rtol=1e-12)


def test_a_batch_size_that_was_halved_does_not_move_the_cuts(tmp_path, tiny_models):
    """Memory may run out at any time: the batches that are stacked stay those of the size that was settled."""
    bench = Bench(tmp_path, tiny_models, ["hungry"], batch_size=16)
    held = bench.evaluator._models[bench.models["hungry"]]
    result = bench.shard(0, bad={1, 2, 3})
    assert result.shards[0].batch_size == 4
    assert held.settled_sizes == {"forward": 16}
    assert contents(result)["hungry", "logits"]["sample_id"] == [0, *range(4, 48)]


def test_an_error_of_the_input_ends_the_shard_and_no_other(tmp_path, tiny_models):
    bench = Bench(tmp_path, tiny_models, ["first"], batch_size=16)

    def broken(chunks):
        yield chunks[0]
        raise OSError("the node is gone")

    threads = threading.active_count()
    with pytest.raises(OSError, match="the node is gone"):
        bench.shard(0, wrap=broken)
    assert threading.active_count() == threads
    assert len(bench.shard(1).shards) == 1


@pytest.mark.parametrize("n", [1, 3])
def test_normalised_bytes_are_normalised_pixels(n):
    """All 256 values in every channel, to the bit."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    images = torch.from_numpy(np.stack([np.stack([values, values.T, values[::-1]], axis=2)] * n))
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    inputs = normalisation.of_bytes(images)
    assert torch.equal(inputs, normalisation.of_pixels(in_unit_range(images)))
    assert torch.equal(inputs, normalisation.of_images(list(images.numpy()), Recycled()))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in normalisation)
    want = (images[0].numpy().transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(inputs[0].numpy(), want)


def test_memory_comes_back_when_no_tensor_refers_to_it():
    memory = Recycled()
    first = torch.from_numpy(memory.array((4, 6)))
    place, view = first.data_ptr(), first[1:].permute(1, 0)
    del first
    second = memory.array((4, 6))
    assert second.ctypes.data != place  # a view still refers to the first one
    view[:] = 7
    del view
    third = memory.array((2, 6))
    assert third.ctypes.data == place
    larger = memory.array((100, 6))
    assert larger.ctypes.data not in (place, second.ctypes.data)


@pytest.mark.parametrize(
    "space", [None, *LABEL_SPACES.values()], ids=lambda space: getattr(space, "name", "none given")
)
def test_columns_with_torch_are_those_with_numpy(space):
    """What a GPU computes, tried on the CPU: integers are equal, the rest within 1e-12."""
    generator = np.random.default_rng(0)
    logits = (3 * generator.normal(size=(64, 1000))).astype(np.float32)
    logits[0], logits[1, [5, 9]] = 0, 20  # ties
    labels = generator.integers(0, len(space.classes) if space and space.classes else 1000, (64, 3)).astype(np.int32)
    labels[::2, 2], labels[::5, 1] = -1, -1
    # Until they are refused, such logits must not lead to a place that does not exist: on a GPU, that ends the process.
    logits[2], logits[3, ::2], logits[4] = np.nan, np.nan, np.inf
    with np.errstate(invalid="ignore"):
        host = scores.output_columns(logits, labels, space)
    arrays = scores.Arrays(torch, torch.device("cpu"))
    found = scores.output_columns(torch.from_numpy(logits), torch.from_numpy(labels), space, arrays)
    assert list(found) == list(host)
    for name, values in host.items():
        ours = found[name].numpy()
        assert ours.dtype == values.dtype
        np.testing.assert_allclose(ours, values, rtol=0 if values.dtype.kind == "i" else 1e-12)


@pytest.mark.parametrize(
    ("rows", "flaws"),
    [
        ([[1.0, -2.0, 0.5]], [False, False]),
        ([[1.0, np.nan, 0.5]], [True, False]),
        ([[np.inf, -np.inf, 0.5]], [True, False]),
        ([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]], [False, True]),
        ([[0.2, 0.3, 0.5], [0.0, 1.0, 1.0]], [False, False]),
        ([[1.0]], [False, False]),
    ],
)
def test_flaws_with_torch_are_those_with_numpy(rows, flaws):
    logits = np.array(rows, np.float32)
    arrays = scores.Arrays(torch, torch.device("cpu"))
    assert scores.logit_flaws(logits).tolist() == flaws
    assert scores.logit_flaws(torch.from_numpy(logits), arrays).tolist() == flaws
