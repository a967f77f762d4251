"""Ingest with real Ray: once each, exactly, whatever is bad and whatever dies."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import qubastore
from qubastore.datasets.dataset import images_in_memory
from qubastore.datasets.image_folder import image_folder
from qubastore.errors import DatasetError, IngestError, ModelError, OutputError, StoreError, UsageError
from qubastore.evaluators import InMemoryModel, ingest
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec
from qubastore.statistics.scores import output_columns
from tests.conftest import TINY_MODELS, write_images

pytestmark = pytest.mark.usefixtures("ray_session")


def everything(store):
    """All rows that a run is made of, but for times."""
    tables = {
        "outputs": "* exclude (run_id)",
        "logits": "*",
        "failures": "*",
        "class_summary": "*",
        "bin_summary": "*",
        "run_metrics": "*",
    }
    found = {
        name: sorted(map(repr, store.rows(f"select r.model_id, t.{what} from {name} t join runs r using (run_id)")))
        for name, what in tables.items()
    }
    found["shards"] = store.rows(
        "select run_id, shard, first_sample, n_samples, n_failed, kept from shards order by all"
    )
    return found


def plain_loop(folder, spec: str, batch: int = 32) -> np.ndarray:
    """Logits by a plain PyTorch loop with torchvision's transforms, written for the check."""
    from torchvision import transforms

    loaded = ModelSource.of(ModelSpec.parse(spec)).load()
    p = loaded.preprocessing
    steps = transforms.Compose(
        [
            transforms.Resize(p.resize[0], transforms.InterpolationMode(p.interpolation)),
            transforms.CenterCrop(p.crop),
            transforms.ToTensor(),
            transforms.Normalize(p.mean, p.std),
        ]
    )
    inputs = [steps(Image.open(f"{folder.root}/{s.key}").convert("RGB")) for s in folder.samples]
    with torch.inference_mode():
        parts = [loaded.module(torch.stack(inputs[i : i + batch])) for i in range(0, len(inputs), batch)]
    return torch.cat(parts).numpy()


def test_two_models_decode_once_and_equal_a_plain_loop(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first", f"python:{tiny_models}:second"]
    report = ingest(store, specs, {"noise": images}, keep=("outputs", "logits", "features"))
    assert (report.images, len(report.completed), report.errors, report.set_aside) == (300, 2, [], [])
    assert len(report.plan.groups()) == 1, "another normalisation shares decoding"
    folder = image_folder("noise", images)
    for spec in specs:
        want = plain_loop(folder, spec)
        name = "python:tiny_models.py:" + spec.rpartition(":")[2]
        run_id = store.rows("select run_id from run_details where model = ?", [name])[0][0]
        got = np.concatenate(
            [b.column("values").flatten().to_numpy().reshape(len(b), -1) for b in store.logits(run_id)]
        )
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=2**-15)
        labels = np.array([s.label for s in folder.samples], np.int32)
        columns = output_columns(want, labels)
        frame = store.outputs(run_id)
        assert frame["prediction"].to_list() == columns["prediction"].tolist()
        assert frame["label"].to_list() == labels.tolist()
        np.testing.assert_allclose(frame["confidence"].to_numpy(), columns["confidence"], atol=1e-6)
        assert sum(b.num_rows for b in store.features(run_id)) == 150
    assert store.rows(
        "select parameters, feature_width, input_height, num_classes from models order by name limit 1"
    ) == [(8 * 27 + 8 + 16 + 32 * 3 + 3, 32, 32, 3)]
    versions = store.rows("select versions from runs limit 1")[0][0]
    assert {"torch", "ray", "qubastore"} <= set(versions)


def test_a_second_ingest_does_nothing(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    before = everything(store)
    report = ingest(store, specs, {"noise": images})
    assert (report.images, report.skipped, report.plan.todo) == (0, 2, [])
    assert everything(store) == before


def test_only_what_is_missing_is_run(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    before = everything(store)
    run_id = store.rows("select run_id from runs")[0][0]

    def lose(connection):
        for table in ("outputs", "logits"):
            connection.execute(f"delete from {table} where run_id = ? and sample_id >= 128", [run_id])
        connection.execute("delete from shards where shard = 1")
        connection.execute("delete from run_summary")

    store.write(lose)
    report = ingest(store, specs, {"noise": images})
    assert report.images == 22
    assert everything(store) == before, "to the last bit"


def test_force_replaces(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    before = everything(store)
    assert ingest(store, specs, {"noise": images}, force=True).images == 150
    assert everything(store) == before


def test_keeping_more_later_runs_again(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images}, keep=("outputs",))
    assert store.rows("select count(*) from logits") == [(0,)]
    assert ingest(store, specs, {"noise": images}, keep=("logits",)).images == 150
    assert store.rows("select count(*) from logits") == [(150,)]
    assert store.rows("select count(*) from outputs") == [(150,)]
    assert ingest(store, specs, {"noise": images}, keep=("outputs",)).images == 0


def test_asking_for_another_kind_loses_none(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    assert ingest(store, specs, {"noise": images}, keep=("features",)).images == 150
    for kind in ("outputs", "logits", "features"):
        assert store.rows(f"select count(*) from {kind}") == [(150,)], kind
    assert store.rows("select value is not null from run_metrics where metric = 'ace'") == [(True,)]
    assert ingest(store, specs, {"noise": images}).images == 0


def test_a_model_under_another_name_is_the_same(store, tiny_models, images):
    other = tiny_models.with_name("renamed.py")
    other.write_text(tiny_models.read_text())
    ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, limit=10)
    assert ingest(store, [f"python:{other}:first"], {"noise": images}, limit=10).images == 0
    assert store.rows("select model from accuracy") == [("python:tiny_models.py:first",)]


def test_a_subset_is_a_run_of_its_own(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    assert ingest(store, specs, {"noise": images}, limit=30).images == 30
    assert ingest(store, specs, {"noise": images}).images == 150
    assert store.rows("select n_outputs from accuracy order by 1") == [(30,), (150,)]


def test_precision_is_part_of_the_run(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images}, limit=20)
    ingest(store, specs, {"noise": images}, limit=20, precision="bf16")
    logits = store.rows(
        "select r.precision, l.values from logits l join runs r using (run_id) order by r.precision, sample_id"
    )
    half, full = (np.array([v for p, v in logits if p == name]) for name in ("bf16", "fp32"))
    assert half.shape == full.shape == (20, 3)
    assert not np.array_equal(half, full)
    np.testing.assert_allclose(half, full, atol=0.05)


def test_a_dry_run_stores_nothing(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, dry_run=True)
    assert [planned.n_images for planned in report.plan.runs] == [150]
    for table in ("models", "datasets", "runs", "shards"):
        assert store.rows(f"select count(*) from {table}") == [(0,)]


def test_a_callable_preprocessing(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:prepared"], {"noise": images}, limit=40)
    assert store.rows("select n_outputs from accuracy") == [(40,)]
    assert '"id":"resize-32"' in store.rows("select preprocessing from models")[0][0]


def test_models_and_datasets_in_memory(store):
    def png(value):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (value, value, value)).save(buffer, "PNG")
        return buffer.getvalue()

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    with torch.no_grad():  # class 1 for bright images
        net[1].weight[0], net[1].weight[1] = -1, 1
        net[1].bias.zero_()
    config = {"input_size": (3, 8, 8), "crop_pct": 1.0, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    data = images_in_memory("grey", [png(v) for v in (10, 240, 200, 30)], [0, 1, 0, 0], ["dark", "bright"])
    ingest(store, [InMemoryModel("threshold", net, config)], [data])
    assert store.rows("select model, accuracy from accuracy") == [("memory:threshold", 0.75)]


# Bad input ---------------------------------------------------------------------------------------------------
def test_corrupt_images_are_recorded(store, tiny_models, images):
    (images / "ant" / "001.png").write_bytes(b"no image")
    (images / "cow" / "zz.png").write_bytes((images / "cow" / "000.png").read_bytes()[:100])
    report = ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
    assert report.failures == 2
    assert store.rows("select n_outputs, n_failed from accuracy") == [(149, 2)]
    assert store.rows("select key from failures order by key") == [("ant/001.png",), ("cow/zz.png",)]


def test_strict_makes_them_errors(store, tiny_models, images):
    (images / "ant" / "001.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"ant/001.png cannot be decoded"):
        ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, strict=True)
    assert store.rows("select count(*) from run_summary") == [(0,)]
    assert list((store.data_path / "main" / "outputs").rglob("shard-00000*.parquet")) == []


def test_a_shard_without_any_good_image(store, tiny_models, tmp_path):
    root = write_images(tmp_path / "few", {"a": 1, "b": 1, "c": 1})
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no image")
    report = ingest(store, [f"python:{tiny_models}:first"], {"few": root})
    assert report.failures == 3
    assert store.rows("select n_outputs, n_failed, accuracy from accuracy") == [(0, 3, None)]


def test_an_image_that_changed_is_an_error(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
    path = images / "ant" / "001.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # the same size, another content
    path.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=r"ant/001.png has changed"):
        ingest(store, [f"python:{tiny_models}:second"], {"noise": images})
    assert store.rows("select count(*) from accuracy") == [(1,)]


def test_nan_logits_end_one_run_and_not_the_others(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:{f}" for f in ("nan_logits", "first")], {"noise": images})
    ((model, dataset, error),) = report.errors
    assert (model, dataset) == ("python:tiny_models.py:nan_logits", "noise")
    assert isinstance(error, OutputError)
    assert "returned nan" in str(error)
    assert store.rows("select model from accuracy") == [("python:tiny_models.py:first",)]
    assert store.rows("select complete from run_details where model like '%nan%'") == [(False,)]


def test_probabilities_are_no_logits(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:no_logits"], {"noise": images})
    assert "returned probabilities" in str(report.errors[0][2])
    assert store.rows("select count(*) from outputs") == [(0,)]


def test_a_network_that_goes_back_to_train_mode(store, tmp_path, images):
    """A part of it is enough: batch statistics would change the answers."""
    source = f"""{TINY_MODELS}

class Restless(Net):
    def forward(self, x):
        self.body[1].train(len(x) > 1)
        return self.head(x.flatten(1)[:, :32])


def restless():
    return Restless(1), CONFIG
"""
    (tmp_path / "restless.py").write_text(source)
    report = ingest(store, [f"python:{tmp_path / 'restless.py'}:restless"], {"noise": images}, batch_size=8, limit=24)
    assert "BatchNorm2d is in train mode" in str(report.errors[0][2])


def test_the_wrong_number_of_classes(store, tiny_models, images):
    with pytest.raises(ModelError, match="does not fit the dataset noise") as caught:
        ingest(store, [f"python:{tiny_models}:four_classes"], {"noise": images})
    assert "expected: 3 classes" in str(caught.value)
    assert "found: 4 classes" in str(caught.value)
    assert store.rows("select count(*) from models") == [(0,)]


def test_a_model_that_cannot_be_loaded_leaves_the_others_alone(store, tiny_models, images):
    specs = [f"python:{tiny_models}:{name}" for name in ("no_tuple", "four_classes", "first")]
    report = ingest(store, specs, {"noise": images}, limit=10)
    assert report.images == 10
    assert [name.rpartition(":")[2] for name, _, _ in report.errors] == ["no_tuple", "four_classes"]


def test_a_model_that_is_another_each_time(store, tiny_models, images):
    report = ingest(store, [f"python:{tiny_models}:{f}" for f in ("unseeded", "first")], {"noise": images}, limit=20)
    assert "is another model each time" in str(report.errors[0][2])
    assert store.rows("select model from accuracy") == [("python:tiny_models.py:first",)]


def test_out_of_memory_halves_the_batch(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:hungry"], {"noise": images}, batch_size=32)
    assert store.rows("select distinct batch_size from shards") == [(4,)]
    assert store.rows("select n_outputs from accuracy") == [(150,)]


def test_the_largest_batch_is_found_once_and_remembered(store, tiny_models, images):
    spec = f"python:{tiny_models}:hungry"
    ingest(store, [spec], {"noise": images}, conditions=["clean", "fgsm"], batch_size="auto")
    # Five images fit at most, so four in a forward pass and, the same network, four in one with gradients.
    found = store.rows("select work, batch_size, device, precision from batch_sizes order by work")
    assert found == [("forward", 4, "cpu", "fp32"), ("gradients", 4, "cpu", "fp32")]
    assert store.rows("select distinct batch_size from shards") == [(4,)]
    # What is remembered is used, and not found again; where it turns out too large, the smaller one is remembered.
    store.write(lambda c: c.execute("update batch_sizes set batch_size = 2 where work = 'forward'"))
    ingest(store, [spec], {"noise": images}, batch_size="auto", force=True)
    assert store.rows(
        "select distinct batch_size from shards s join runs r using (run_id) where condition = 'clean'"
    ) == [(2,)]
    store.write(lambda c: c.execute("update batch_sizes set batch_size = 32 where work = 'forward'"))
    ingest(store, [spec], {"noise": images}, batch_size="auto", force=True)
    assert store.rows("select batch_size from batch_sizes where work = 'forward'") == [(4,)]


def test_a_batch_size_of_ones_own_is_not_remembered(store, tiny_models, images):
    ingest(store, [f"python:{tiny_models}:hungry"], {"noise": images}, batch_size=32)
    assert store.rows("from batch_sizes") == []


def test_compiled_runs_are_runs_of_their_own_and_agree(store, tiny_models, images):
    options = {"keep": ["outputs", "logits", "features"], "batch_size": 16}
    for precision in ("fp32", "fp32-compiled"):
        report = ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, precision=precision, **options)
        assert report.images == 150
    runs = dict(store.rows("select precision, run_id from runs"))
    for read in (store.logits, store.features):
        plain, compiled = (
            np.concatenate([np.stack(batch.column("values").to_pylist()) for batch in read(runs[precision])])
            for precision in ("fp32", "fp32-compiled")
        )
        # 150 images are nine batches of 16 and one of 6, filled up; rounding moves a value by 2^-16 of itself.
        assert len(plain) == len(compiled) == 150
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "unknown precision"),
        ({"keep": ["logit"]}, "did you mean logits"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"batch_size": "large"}, "batch size is large"),
        ({"models": []}, "nothing to ingest"),
    ],
)
def test_wrong_requests(store, tiny_models, images, options, message):
    asked = {"models": [f"python:{tiny_models}:first"], "datasets": {"noise": images}, **options}
    with pytest.raises(UsageError, match=message):
        ingest(store, **asked)


def test_more_gpus_than_there_are(store, tiny_models, images):
    with pytest.raises(IngestError, match="4 GPUs were asked for"):
        ingest(store, [f"python:{tiny_models}:first"], {"noise": images}, num_gpus=4)


# Whatever dies -----------------------------------------------------------------------------------------------
def test_an_evaluator_that_dies_once(store, tiny_models, images):
    (tiny_models.parent / "bomb").write_text("once")
    report = ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images})
    assert report.set_aside == []
    assert store.rows("select n_outputs from accuracy") == [(150,)]
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(150, 150)]


def test_a_shard_that_kills_two_evaluators_is_set_aside(store, tiny_models, images):
    (tiny_models.parent / "bomb").write_text("always")
    report = ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images})
    assert sorted(report.set_aside) == [("noise", 0, 128), ("noise", 128, 150)]
    assert store.rows("select count(*) from shards") == [(0,)]
    (tiny_models.parent / "bomb").unlink()
    assert ingest(store, [f"python:{tiny_models}:deadly"], {"noise": images}).images == 150
    assert store.rows("select n_outputs from accuracy") == [(150,)]


def test_the_number_of_forward_passes(store, tmp_path, images):
    """Every image goes through every model once, but for the first batch, which shows that the network repeats itself.

    Images to look at the model with go apart: a blank one, and four in one batch or alone.
    """
    log = tmp_path / "passes"
    (tmp_path / "counting.py").write_text(
        f"""
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, 3)
    def forward(self, x):
        if len(x) > 4:
            with open({str(log)!r}, "a") as file:
                file.write(f"{{len(x)}} {{float(x.sum())}}\\n")
        return self.head(x.mean(dim=(2, 3)))
def net():
    return Net(), {{"input_size": (3, 8, 8), "mean": (0.1,) * 3}}
"""
    )
    ingest(store, [f"python:{tmp_path / 'counting.py'}:net"], {"noise": images})
    ingest(store, [f"python:{tmp_path / 'counting.py'}:net"], {"noise": images})
    first, second, *others = log.read_text().splitlines()
    assert first == second
    assert sum(int(line.split()[0]) for line in (second, *others)) == 150
    assert len({first, *others}) == 1 + len(others)


def command(store_path, model, images, *more):
    return [
        *(sys.executable, "-m", "qubastore.cli.main", "ingest", "--store", str(store_path), "--num-cpus", "2"),
        *("--model", str(model), "--dataset", f"noise={images}", *more),
    ]


def start(store_path, model, images, *more):
    return subprocess.Popen(
        command(store_path, model, images, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


SLOW = """
import time, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, 3)
    def forward(self, x):
        time.sleep(0.2 if len(x) > 1 else 0)
        return self.head(x.mean(dim=(2, 3)))
def net():
    return Net(), {"input_size": (3, 8, 8)}
"""


@pytest.fixture
def slow_model(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    return f"python:{path}:net"


def wait_for_shards(path, count, process, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with qubastore.open(path) as reader:
            if reader.rows("select count(*) from shards")[0][0] >= count:
                return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


def test_kill_9_of_the_driver_then_a_rerun(store, tmp_path, slow_model):
    """The same rows as an undisturbed ingest, none twice."""
    images = write_images(tmp_path / "images", {"a": 300, "b": 300, "c": 300})
    with qubastore.init(tmp_path / "calm") as calm:
        ingest(calm, [slow_model], {"noise": images})
        want = everything(calm)
    for round_ in range(2):
        process = start(store.path, slow_model, images)
        wait_for_shards(store.path, 1 + 2 * round_, process)
        time.sleep(random.Random(round_).uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = store.rows("select count(*) from shards")[0][0]
        rows, distinct = store.rows("select count(*), count(distinct sample_id) from outputs")[0]
        assert rows == distinct == store.rows("select coalesce(sum(n_outputs), 0) from shards")[0][0]
        assert done < 8
    report = ingest(store, [slow_model], {"noise": images})
    assert report.skipped == done
    assert everything(store) == want


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(store, tmp_path, slow_model):
    images = write_images(tmp_path / "images", {"a": 300, "b": 300, "c": 300})
    process = start(store.path, slow_model, images)
    wait_for_shards(store.path, 1, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    assert store.rows("select count(*) = count(distinct sample_id) from outputs") == [(True,)]


def test_two_ingests_at_once(store, tmp_path, slow_model):
    """Both end well; every sample is there once."""
    images = write_images(tmp_path / "images", {"a": 150, "b": 100, "c": 100})
    processes = [start(store.path, slow_model, images) for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=150)
        assert process.returncode == 0, output
    assert store.rows("select count(*), count(distinct sample_id) from outputs") == [(350, 350)]
    assert store.rows("select count(*), count(distinct sample_id) from logits") == [(350, 350)]
    for table in ("models", "datasets", "runs", "run_summary"):
        assert store.rows(f"select count(*) from {table}") == [(1,)], table


def test_a_killed_evaluator_process(store, tmp_path, slow_model):
    """kill -9 from outside, while it works."""
    images = write_images(tmp_path / "images", {"a": 200, "b": 200, "c": 200})
    process = start(store.path, slow_model, images)
    wait_for_shards(store.path, 1, process)
    evaluators = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            mine = b"ray::Evaluator" in path.read_bytes() and _is_child(int(path.parent.name), process.pid)
        except OSError:
            continue
        if mine:
            evaluators.append(int(path.parent.name))
    assert len(evaluators) == 1
    os.kill(evaluators[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "trying them again" in output
    assert store.rows("select n_outputs from accuracy") == [(600,)]
    assert store.rows("select count(*) = count(distinct sample_id) from outputs") == [(True,)]


def _is_child(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    return False


def test_a_full_disk_says_so_and_keeps_what_is_there(store, tmp_path, tiny_models, images):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(store.data_path)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        fill = store.data_path / "fill"
        with contextlib.suppress(OSError):
            fill.write_bytes(b"x" * 65_536)
        # Full before anything began: said before a model is loaded.
        with pytest.raises(StoreError, match="No space left") as caught:
            ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
        assert "free some space" in str(caught.value)
        # Room for a note, not for a shard.
        fill.write_bytes(b"x" * 57_000)
        with pytest.raises(IngestError, match="No space left") as caught:
            ingest(store, [f"python:{tiny_models}:first"], {"noise": images})
        assert "what was committed is kept" in str(caught.value)
        assert store.rows("select count(*) from shards") == [(0,)]
    finally:
        subprocess.run(["umount", str(store.data_path)], check=True)
    assert ingest(store, [f"python:{tiny_models}:first"], {"noise": images}).images == 150
