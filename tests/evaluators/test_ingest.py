"""Ingest with real Ray: what it stores, what it runs again, and how often an image passes."""

from __future__ import annotations

import io
import socket
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qubastore.datasets.dataset import images_in_memory
from qubastore.datasets.image_folder import image_folder
from qubastore.evaluators import InMemoryModel, ingest
from qubastore.lake.rows import insert
from qubastore.ranking.resampling import Resampler
from qubastore.runs.removal import delete_summaries
from qubastore.statistics.options import BootstrapOptions
from qubastore.statistics.scores import output_columns
from tests.support.ingests import everything, plain_loop

pytestmark = pytest.mark.usefixtures("ray_session")


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
        np.testing.assert_allclose(
            frame["confidence"].to_numpy(), np.asarray(columns["confidence"], np.float32), atol=1e-6
        )
        assert sum(b.num_rows for b in store.features(run_id)) == 150
    assert store.rows(
        "select parameters, feature_width, input_height, num_classes from models order by name limit 1"
    ) == [(8 * 27 + 8 + 16 + 32 * 3 + 3, 32, 32, 3)]
    versions = store.rows("select versions from runs limit 1")[0][0]
    assert {"torch", "ray", "qubastore"} <= set(versions)


def test_intervals_are_computed_on_the_workers(store, tiny_models, images):
    """The resamples are those of the first ranking that wants them, to the bit."""
    specs = [f"python:{tiny_models}:first", f"python:{tiny_models}:second"]
    store.write(lambda c: insert(c, "own_suites", [("mine", "clean", "noise", "clean", "model", 150, "", "pillow")]))
    ingest(store, specs, {"noise": images}, intervals=True)
    query = "from replicates order by run_id, metric"
    kept = store.rows(query)
    assert [row[1] for row in kept] == 2 * ["accuracy", "ace", "class_balance", "ece"]
    store.write(lambda c: c.execute("delete from replicates"))
    for run_id in sorted({row[0] for row in kept}):
        Resampler(store, "quba", BootstrapOptions()).run_figures(run_id)
    assert store.rows(query) == kept


def test_a_second_ingest_does_nothing(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    before = everything(store)
    report = ingest(store, specs, {"noise": images})
    assert (report.images, report.skipped, report.plan.todo) == (0, 2, [])
    assert everything(store) == before


def test_an_ingest_with_nothing_to_do_removes_the_session_of_a_killed_one(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    host = socket.gethostname()
    store.write(lambda c: c.execute(f"insert into drivers values ('gone', '{host}', 4194305, null, [], 0, now())"))
    ingest(store, specs, {"noise": images})
    assert store.rows("from drivers") == []


def test_only_what_is_missing_is_run(store, tiny_models, images):
    specs = [f"python:{tiny_models}:first"]
    ingest(store, specs, {"noise": images})
    before = everything(store)
    run_id = store.rows("select run_id from runs")[0][0]

    def lose(connection):
        for table in ("outputs", "logits"):
            connection.execute(f"delete from {table} where run_id = ? and sample_id >= 128", [run_id])
        connection.execute("delete from shards where shard = 1")
        delete_summaries(connection, [run_id])

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

    linear = torch.nn.Linear(192, 2)
    net = torch.nn.Sequential(torch.nn.Flatten(), linear)
    with torch.no_grad():  # class 1 for bright images
        linear.weight[0], linear.weight[1] = -1, 1
        linear.bias.zero_()
    config = {"input_size": (3, 8, 8), "crop_pct": 1.0, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    data = images_in_memory("grey", [png(v) for v in (10, 240, 200, 30)], [0, 1, 0, 0], ["dark", "bright"])
    ingest(store, [InMemoryModel("threshold", net, config)], [data])
    assert store.rows("select model, accuracy from accuracy") == [("memory:threshold", 0.75)]


def test_compiled_runs_are_runs_of_their_own_and_agree(store, tiny_models, images):
    options: dict[str, Any] = {"keep": ["outputs", "logits", "features"], "batch_size": 16}
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
