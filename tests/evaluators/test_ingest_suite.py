"""`--suite`: a whole suite in one command, on a miniature data root; what is missing is reported, and the rest runs."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from qubastore.analysis.coverage import dimension_states
from qubastore.cli.main import cli
from qubastore.datasets.catalogue import CORRUPTIONS
from qubastore.datasets.locating import locate_suite
from qubastore.errors import DatasetNotFoundError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.driver import stored_suite
from qubastore.evaluators.planning.configuration import read_configuration
from qubastore.evaluators.planning.tasks import tasks_of
from qubastore.evaluators.progress import Silent
from qubastore.metrics.suite_files import suite_from_table
from qubastore.metrics.suites import QUBA, Suite
from qubastore.runs.records import replace_suite
from tests.support import data_root

COUNTING = '''
import os
import torch
from qubastore.evaluators.loaders.fixed_images import fixed_pixels

FIXED = torch.tensor([pixels.sum() / 255 for pixels in fixed_pixels(224, 224)])
CALLS = os.path.join(os.path.dirname(__file__), "calls")


class Net(torch.nn.Module):
    """Counts the images of every pass but those with which a model is described: a blank one, and fixed ones."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pool, self.head = torch.nn.AdaptiveAvgPool2d(7), torch.nn.Linear(147, 1000)

    def forward(self, x):
        sums = x.double().sum((1, 2, 3))
        if x.abs().sum() > 0 and (sums[:, None] - FIXED).abs().min() > 0.1:
            with open(CALLS, "a") as file:
                file.write(f"{len(x)}\\n")
        return self.head(self.pool(x).flatten(1))


def net():
    return Net(), {"input_size": (3, 224, 224), "mean": (0, 0, 0), "std": (1, 1, 1)}
'''


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with two cells of ImageNet-C."""
    path = data_root.make(tmp_path_factory.mktemp("root"))
    for corruption in CORRUPTIONS:
        if corruption != "fog":
            shutil.rmtree(path / "imagenet-c" / corruption)
    for severity in ("3", "4", "5"):
        shutil.rmtree(path / "imagenet-c" / "fog" / severity)
    return path


@pytest.fixture
def counting(tmp_path):
    (tmp_path / "counting.py").write_text(COUNTING)
    return f"python:{tmp_path / 'counting.py'}:net"


def in_miniature(root):
    """The suite quba with the counts of the miniature data root."""
    found, _ = locate_suite(QUBA.datasets, [], root)
    sizes = {data.name: len(data.samples) for data in found}
    roles = [replace(role, n_samples=sizes[role.dataset]) for role in QUBA.roles if role.dataset in sizes]
    return Suite("mini", tuple(roles))


def test_a_whole_suite_with_one_pass_per_run(store, root, counting, tmp_path, ray_session):
    suite = in_miniature(root)
    store.write(lambda connection: replace_suite(connection, suite))
    report = ingest(store, [counting], suite=suite, data_root=root)
    assert not report.errors
    assert not report.missing
    assert len(report.completed) == len(suite.roles) == 13
    # One image pass per (model, dataset, condition): gradients come on top, 1 for FGSM and 10 for PGD.
    passes = sum(int(line) for line in (tmp_path / "calls").read_text().split())
    n_val = 4
    expected = sum(r.n_samples for r in suite.roles) + n_val * (1 + 10)
    # The first batch of each kind of work, forward and gradients, passes twice: it shows that answers repeat.
    assert passes - expected - n_val in {r.n_samples for r in suite.roles}
    # No dimension lacks a run; a net that guesses may be right nowhere, which is another reason.
    for state in dimension_states(store, "python:counting.py:net", "mini"):
        assert state.value is not None or {lack.command for lack in state.lacks} == {""}
    (accuracy,) = store.rows("select accuracy from measured_dimensions")[0]
    outputs = "from outputs join run_details using (run_id) where dataset = 'imagenet-val' and condition = 'clean'"
    assert store.rows(f"select avg((prediction = label)::int) {outputs}") == [(accuracy,)]
    framings = dict(store.rows("select distinct split_part(dataset, '/', 1), framing from run_details"))
    assert framings["imagenet-c"] == framings["cue-conflict"] == framings["edge"] == "whole"
    assert framings["imagenet-val"] == framings["imagenet-r"] == framings["mixed_same"] == "model"
    kept = dict(
        store.rows("select dataset, any_value(shards.kept) from shards join run_details using (run_id) group by 1")
    )
    assert kept["imagenet-c/fog/1"] == ["outputs"]
    assert kept["imagenet-r"] == ["outputs", "logits"]
    # Predictions stand in the dataset's own classes.
    (largest,) = store.rows(
        "select max(prediction) filter (where dataset = 'imagenet-r'), max(prediction) filter (where dataset = 'edge'),"
        " max(prediction) filter (where dataset = 'mixed_same') from outputs join run_details using (run_id)"
    )
    assert largest[0] < 200
    assert largest[1] < 16
    assert largest[2] < 9
    # Again: nothing to do. Framed as the study did: runs of their own.
    assert ingest(store, [counting], suite=suite, data_root=root).images == 0
    planned = ingest(store, [counting], suite="quba", data_root=root, framing="model", dry_run=True)
    assert {p.run.framing for p in planned.plan.runs} == {"model"}
    assert len(planned.plan.todo) == 7  # what is whole by default: two cells, four sets of human vision, cue-conflict


def test_half_of_a_data_root(store, root, tiny_models, tmp_path, capfd):
    """Each missing set is named with its path; the plan has the others."""
    half = tmp_path / "half"
    shutil.copytree(root, half)
    shutil.rmtree(half / "imagenet-r")
    shutil.rmtree(half / "bg_challenge")
    said: list[str] = []

    class Display(Silent):
        def log(self, text):
            said.append(text)

    (tmp_path / "counting.py").write_text(COUNTING)
    model = f"python:{tmp_path / 'counting.py'}:net"
    report = ingest(store, [model], suite="quba", data_root=half, dry_run=True, display=Display())
    assert {name.split("/")[0] for name, _ in report.missing} == {
        "imagenet-c",
        "imagenet-r",
        "mixed_rand",
        "mixed_same",
    }
    assert len(report.plan.runs) == 10
    text = "\n".join(said)
    assert f"left out: dataset imagenet-r: {half}/imagenet-r does not exist" in text
    assert "and 72 more of its 75 parts" in text
    assert str(half / "bg_challenge/mixed_same/val") in text
    with pytest.raises(DatasetNotFoundError):
        ingest(store, [model], suite="quba", data_root=half, dry_run=True, strict=True)


def test_tasks_of_a_suite(root):
    datasets, _ = locate_suite(QUBA.datasets, [], root)
    tasks = tasks_of(datasets, QUBA)
    assert len(tasks) == 13
    assert {str(t.condition) for t in tasks if t.dataset.name == "imagenet-val"} == {
        "clean",
        "fgsm(eps=8/255)",
        "pgd(eps=8/255,alpha=2/255,steps=10,start=random)",
    }
    alone = tasks_of([data for data in datasets if data.name == "edge"])
    assert [(t.framing, str(t.condition)) for t in alone] == [("whole", "clean")]


def test_an_unknown_suite(store, root):
    with pytest.raises(UsageError, match="did you mean quba"):
        stored_suite(store, "qubba")
    assert sorted(stored_suite(store, "quba").datasets) == sorted(QUBA.datasets)


OWN = """
    models = ["python:{models}:first"]

    [datasets]
    pets = "images"
    pets-c = {{ path = "corrupted", layout = "corruption/severity/class" }}
    cues = {{ path = "cues", layout = "shape-texture", framing = "whole" }}

    [suite]
    name = "pets"

    [suite.roles]
    clean = {{ dataset = "pets", samples = 3 }}
    adversarial = {{ dataset = "pets", samples = 3, conditions = ["fgsm(eps=4/255)", "pgd(steps=2)"] }}
    corrupted = {{ dataset = "pets-c", samples = 3, corruptions = ["fog"], severities = [1, 2] }}
    shifted = [{{ dataset = "art", samples = 3 }}, {{ dataset = "toys", samples = 3 }}]
    cue_conflict = {{ dataset = "cues", samples = 2, framing = "whole" }}
"""


def test_a_suite_of_ones_own(tmp_path, tiny_models):
    """Roles with conditions and cells; datasets with layouts; what the file does not place is missing by name."""
    from PIL import Image

    def image(*parts):
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(path)

    for name in ("ant", "bee", "cow"):
        image("images", name, "1.png")
        for severity in "12":
            image("corrupted", "fog", severity, name, "1.png")
        (tmp_path / "cues" / name).mkdir(parents=True)
    image("cues", "ant", "ant1-bee1.png")
    image("cues", "bee", "bee1-cow1.png")
    (tmp_path / "pets.toml").write_text(textwrap.dedent(OWN).format(models=tiny_models))
    asked = read_configuration(str(tmp_path / "pets.toml"))
    assert [data.name for data in asked.datasets] == ["pets", "pets-c/fog/1", "pets-c/fog/2", "cues"]
    assert asked.suite is not None
    assert [(r.role, r.dataset, r.condition) for r in asked.suite.roles] == [
        ("clean", "pets", "clean"),
        ("adversarial", "pets", "fgsm(eps=4/255)"),
        ("adversarial", "pets", "pgd(eps=8/255,alpha=2/255,steps=2,start=random)"),
        ("corrupted", "pets-c/fog/1", "clean"),
        ("corrupted", "pets-c/fog/2", "clean"),
        ("shifted", "art", "clean"),
        ("shifted", "toys", "clean"),
        ("cue_conflict", "cues", "clean"),
    ]
    tasks = tasks_of(asked.datasets, asked.suite)
    assert len(tasks) == 6
    _, missing = locate_suite(asked.suite.datasets, [data.name for data in asked.datasets], None)
    assert [name for name, _ in missing] == ["art", "toys"]
    assert "--dataset art=PATH" in str(missing[0][1])


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"clean": [{"dataset": "a", "samples": 1}, {"dataset": "b", "samples": 1}]}, "names 2 runs"),
        ({"cleen": {"dataset": "a", "samples": 1}}, "did you mean clean"),
        ({"corrupted": {"dataset": "a", "samples": 1, "corruptions": ["fog"]}}, "corruptions without severities"),
        ({"corrupted": {"dataset": "a", "samples": 1, "corruptions": ["fog"], "severities": [[1]]}}, "a list such as"),
        ({"shifted": {"dataset": "a", "samples": 1, "framing": "wide"}}, "unknown framing 'wide'"),
        ({"shifted": {"dataset": "a", "samples": 1, "condition": "fog"}}, "unknown condition 'fog'"),
        ({"shifted": {"dataset": "a", "samples": True}}, "is incomplete"),
        ({"shifted": [{"dataset": "a", "samples": 1}] * 2}, "names a twice"),
        ({"shifted": {"dataset": "a", "samples": 1, "sampels": 2}}, "did you mean samples"),
    ],
)
def test_a_suite_that_is_wrong(roles, message):
    with pytest.raises(UsageError, match=message):
        suite_from_table({"name": "x", "roles": roles}, "x.toml")


def test_an_attack_needs_the_models_own_classes(store, root, counting):
    with pytest.raises(UsageError, match="maximises the loss over the model's own classes"):
        ingest(store, [counting], {"imagenet-r": root / "imagenet-r"}, conditions=["fgsm"], dry_run=True)


def test_show_dimensions_of_a_model(store, root, counting):
    """What lacks stands beside the command that makes it."""
    ingest(store, [counting], suite="quba", data_root=root, dry_run=True)
    from qubastore.evaluators.loaders.describe import describe
    from qubastore.evaluators.loaders.source import ModelSource
    from qubastore.models.spec import ModelSpec
    from qubastore.runs import records

    model = describe(ModelSource.of(ModelSpec.parse(counting)).load())
    store.write(lambda connection: records.register_model(connection, model))
    shown = CliRunner().invoke(cli, ["show", "dimensions", "--model", model.name, "--store", str(store.path)])
    assert shown.exit_code == 0, shown.output
    assert "parameters             0.148" in shown.output
    assert "corruption_robustness  lacks imagenet-val, 75 parts of imagenet-c (whole)" in shown.output
    command = "qubastore ingest --model python:DIR/counting.py:net --dataset"
    assert f"{command} imagenet-val --data-root DIR\n" in shown.output
    assert f"{command} imagenet-c --data-root DIR\n" in shown.output
    as_json = CliRunner().invoke(
        cli, ["show", "dimensions", "--model", model.name, "--format", "json", "--store", str(store.path)]
    )
    assert '"missing_run":"edge (whole)"' in as_json.output.replace('": "', '":"')
    wrong = CliRunner().invoke(cli, ["show", "dimensions", "--model", "nett", "--store", str(store.path)])
    assert wrong.exit_code != 0


def test_a_seed_of_a_cell_depends_on_nothing_but_its_images(root):
    found, _ = locate_suite(["imagenet-c/fog/1", "imagenet-c/fog/2"], [], root)
    keys = [[sample.key for sample in data.samples] for data in found]
    assert keys[0] == keys[1]
    assert found[0].dataset_id != found[1].dataset_id
    assert np.all([sample.factors["corruption"] == "fog" for sample in found[0].samples])
