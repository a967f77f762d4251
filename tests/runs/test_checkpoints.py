"""Checkpoints of a training: ingested by step, over which the dimensions are a trajectory."""

from __future__ import annotations

import shutil

import pytest

import qubastore
from qubastore.errors import StoreError, UsageError
from qubastore.evaluators.driver import ingest
from qubastore.lake.rows import insert
from qubastore.maintenance.copy import copy_store
from qubastore.models.spec import ModelSpec
from qubastore.report.collect import collect
from tests.support.runs import add_tiny_suite

NETWORK = """
import torch
CONFIG = {{"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}}
def net():
    torch.manual_seed({seed})
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 3)), CONFIG
"""


def written(folder, seed):
    """A file with a network whose weights depend on a seed."""
    path = folder / f"net{seed}.py"
    path.write_text(NETWORK.format(seed=seed))
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:resnet18,step=3", "there is no name"),
        ("timm:resnet18,name=net,step=late", "step is 'late'"),
        ("timm:resnet18,name=net,step=-1", "step is '-1'"),
        ("timm:resnet18,name=net,step=1.5", "step is '1.5'"),
        ("probe:head,step=3", "a probe has no options"),
    ],
)
def test_a_step_is_a_whole_number_of_a_named_training(text, said):
    with pytest.raises(UsageError, match=said):
        ModelSpec.parse(text)


def test_each_step_is_a_model_of_its_own_name():
    spec = ModelSpec.parse("timm:resnet18,checkpoint=last.pth,name=my net,step=0500")
    assert spec.display() == "my net,step=500"
    assert spec.checkpoint == ("my net", 500)
    assert ModelSpec.parse("timm:resnet18,name=net").checkpoint is None


def test_checkpoints_are_ingested_by_step(store, images, tmp_path, ray_session):
    specs = [f"python:{written(tmp_path, seed)}:net,name=net,step={step}" for seed, step in ((0, 0), (1, 100), (2, 20))]
    report = ingest(store, specs, {"pets": images}, num_gpus=0, num_cpus=2)
    assert not report.errors
    found = store.rows("select training, step, name from checkpoints join models using (model_id) order by step")
    assert found == [("net", step, f"net,step={step}") for step in (0, 20, 100)]
    # The same weights at another step are the same model, which is run once; other weights at a known step are refused.
    same = ingest(store, [specs[0].replace("step=0", "step=1")], {"pets": images}, num_gpus=0, num_cpus=2)
    assert same.images == 0
    assert store.rows("select count(*), count(distinct model_id) from checkpoints") == [(4, 3)]
    with pytest.raises(UsageError, match="step 100 of net is another model"):
        ingest(store, [specs[0].replace("step=0", "step=100")], {"pets": images}, num_gpus=0, num_cpus=2)
    assert store.rows("select count(*) from checkpoints") == [(4,)]


@pytest.fixture
def trained(empty_store, tmp_path):
    """A store with three measured models that are checkpoints of one training, in another order than their names."""
    shutil.copytree(empty_store, tmp_path / "trained")
    with qubastore.open(tmp_path / "trained", read_only=False) as made:
        add_tiny_suite(made)
        ids = dict(made.rows("select name, model_id from models"))
        steps = {"poor": 0, "fair": 90, "good": 1000}
        made.write(lambda c: insert(c, "checkpoints", [("net", step, ids[n], None) for n, step in steps.items()]))
        yield made


def test_a_trajectory_has_the_dimensions_of_each_step(trained):
    found = trained.rows("select step, dimension, value from trajectory where suite = 'tiny' order by dimension, step")
    dimensions = trained.rows("select model, dimension, value from quality_dimensions where source = 'measured'")
    step = {"poor": 0, "fair": 90, "good": 1000}
    assert sorted(found) == sorted((step[model], dimension, value) for model, dimension, value in dimensions)
    accuracies = [value for _, dimension, value in found if dimension == "accuracy"]
    assert accuracies == sorted(accuracies)


def test_the_report_has_trajectories_of_the_models_it_shows(trained):
    found = collect(trained, suite="tiny", resamples=0)["trainings"]
    assert {row["step"] for row in found["net"]} == {0, 90, 1000}
    assert "parameters" not in {row["dimension"] for row in found["net"]}
    few = collect(trained, suite="tiny", resamples=0, models=["poor", "fair"])["trainings"]
    assert {row["model"] for row in few["net"]} == {"poor", "fair"}
    # A line needs two points.
    assert collect(trained, suite="tiny", resamples=0, models=["poor"])["trainings"] == {}


def test_checkpoints_go_with_their_models(trained, store):
    copy_store(trained, store, ["poor", "good"])
    assert store.rows("select step from checkpoints order by step") == [(0,), (1000,)]
    copy_store(trained, store)
    assert store.rows("select step from checkpoints order by step") == [(0,), (90,), (1000,)]
    store.write(lambda c: c.execute("update checkpoints set model_id = 'other' where step = 90"))
    with pytest.raises(StoreError, match="step 90 of net is another model"):
        copy_store(trained, store)


def test_a_removed_model_leaves_no_step(trained):
    from qubastore.runs.removal import remove_model

    ((model_id,),) = trained.rows("select model_id from models where name = 'fair'")
    trained.write(lambda c: remove_model(c, model_id))
    assert trained.rows("select step from checkpoints order by step") == [(0,), (1000,)]
