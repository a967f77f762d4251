"""Configuration files: models, datasets, a suite and options in TOML."""

from __future__ import annotations

import pytest

from qubastore.errors import QubastoreError, UsageError
from qubastore.evaluators.planning.configuration import read_configuration


def configuration(tmp_path, text):
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    path = tmp_path / "suite.toml"
    path.write_text(text)
    return read_configuration(str(path))


def test_a_configuration(tmp_path):
    got = configuration(
        tmp_path,
        """
models = ["python:nets.py:net", { id = "timm:resnet10t", checkpoint = "w.pth", weights = "raw" }]
[datasets]
pets = "."
[suite]
name = "pets"
[suite.roles]
clean = { dataset = "pets", samples = 1 }
[ingest]
batch-size = 8
keep = ["outputs"]
""",
    )
    assert str(got.models[0]) == f"python:{tmp_path}/nets.py:net"
    assert str(got.models[1]) == f"timm:resnet10t,checkpoint={tmp_path}/w.pth,weights=raw"
    assert [data.name for data in got.datasets] == ["pets"]
    assert got.suite.roles[0].n_samples == 1
    assert got.options == {"batch_size": 8, "keep": ["outputs"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "is not a valid TOML file"),
        ("model = []", "did you mean models"),
        ("models = 'timm:x'", "expected: a list"),
        ("models = [3]", "LOADER:NAME"),
        ("models = [{ name = 'x' }]", "has no id"),
        ("datasets = 3", r"\[datasets\]"),
        ("datasets = { d = 'nowhere' }", "does not exist"),
        ("[ingest]\nbatch_size = true", "a whole number"),
        ("[ingest]\nbatchsize = 3", "did you mean batch_size"),
        ("[suite]\n", "has no name"),
        ("[suite]\nname = 'quba'", "is taken by a built-in suite"),
        ("[suite]\nname = 'x'", "has no roles"),
        ("[suite]\nname = 'x'\nroles = ['clean']", "are not a table"),
        ("models = [{ id = 'timm:x', num_classes = 'many' }]", "num_classes is 'many'"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclear = {}", "did you mean clean"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclean = { dataset = 'd' }", "is incomplete"),
        ("[suite]\nname = 'x'\n[suite.roles]\nclean = { dataset = 'd', samples = 2, size = 3 }", "unknown key 'size'"),
    ],
)
def test_invalid_configurations(tmp_path, text, message):
    with pytest.raises(QubastoreError, match=message):
        configuration(tmp_path, text)


def test_a_configuration_that_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_configuration(str(tmp_path / "none.toml"))
