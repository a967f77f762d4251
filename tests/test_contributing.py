"""The walk-throughs of CONTRIBUTING.md: each diff applies to the tree as it is, and does what the text says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n### Add a ")[1:]
DIFFS = {
    section.partition("\n")[0]: diff
    for section in SECTIONS
    for diff in re.findall(r"^```diff\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
}

CHECKS = {
    "metric": """
        from math import log

        import qubastore
        from tests.lake.test_views import CASES
        from tests.support.runs import add_run

        query, expected = CASES["mean_class_accuracy"]
        with qubastore.init("store") as store:
            add_run(store, [[log(9), 0], [log(3), 0], [0, log(3)], [0, log(9)]], [0, 0, 0, 1], classes=["cat", "dog"])
            assert store.rows(query) == expected
            stored = store.rows("select value from metric_values where metric = 'mean_class_accuracy'")
            assert stored == expected, stored
        """,
    "dataset": """
        from pathlib import Path
        from qubastore.datasets.locating import locate
        from tests.support import data_root

        data = locate("imagenette", data_root.make(Path("data")))
        assert [data.classes[sample.label] for sample in data.samples] == ["n02979186", "n03028079"]
        """,
    "loader": """
        import numpy as np
        from qubastore.errors import ModelError
        from qubastore.evaluators.loaders.describe import describe
        from qubastore.evaluators.loaders.source import ModelSource
        from qubastore.models.spec import ModelSpec

        np.savez("net.npz", weight=np.ones((2, 3 * 8 * 8), np.float32))
        source = ModelSource.of(ModelSpec.parse("linear:net.npz,preprocess=8/1"))
        model = describe(source.load())
        assert (model.input_size, model.num_classes, model.parameters) == ((8, 8), 2, 2 * 3 * 8 * 8)
        assert "|linear|" in source.revision()
        open("broken.npz", "w").write("no matrix")
        try:
            ModelSource.of(ModelSpec.parse("linear:broken.npz,preprocess=8/1")).load()
        except ModelError as error:
            assert "no matrix 'weight'" in str(error)
        else:
            raise AssertionError("a broken file was loaded")
        """,
    "command": """
        import qubastore
        from click.testing import CliRunner
        from qubastore.cli.main import cli

        qubastore.init("store").close()
        answer = CliRunner().invoke(cli, ["du", "--store", "store"], catch_exceptions=False)
        sizes = dict(line.split() for line in answer.output.splitlines())
        assert int(sizes["published_results"].replace(",", "")) > 0, answer.output
        assert "du " in CliRunner().invoke(cli, ["--help"]).output
        """,
}
"""What is tried in the tree with a diff, in an empty folder."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "QUBASTORE_"))}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the files that git knows or would add, to apply diffs to."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(listing, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    if known.returncode:
        pytest.skip("needs a clone: git lists the files to copy")
    copy = tmp_path_factory.mktemp("contributing") / "tree"
    for name in filter(None, known.stdout.split("\0")):
        if os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def git_apply(tree, diff, *options):
    # A folder above that is a repository must not make git look for the paths there.
    environment = {**ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", "--whitespace=error-all", *options]
    done = subprocess.run(command, cwd=tree, env=environment, input=diff, capture_output=True, text=True)
    assert done.returncode == 0, f"refresh the diff in CONTRIBUTING.md\n{done.stderr}"


def test_every_walk_through_is_tried():
    assert set(DIFFS) == set(CHECKS)
    assert len(SECTIONS) == len(CHECKS)


@pytest.mark.parametrize("kind", DIFFS)
def test_a_walk_through_is_short(kind):
    assert len(DIFFS[kind].splitlines()) < 40


@pytest.mark.parametrize("kind", DIFFS)
def test_a_walk_through_works(kind, tree, tmp_path):
    git_apply(tree, DIFFS[kind])
    try:
        environment = {**ENVIRONMENT, "PYTHONPATH": str(tree)}
        command = [sys.executable, "-c", textwrap.dedent(CHECKS[kind])]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        git_apply(tree, DIFFS[kind], "--reverse")
