"""The second study's suite and models, and its page: every command and what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qubastore.metrics.suites import BEYOND_IMAGENET, VTAB_TASKS, Role
from qubastore.models.zoo import expand_models, in_group
from tests.conftest import shared
from tests.importers.second_study import annotation_files


def test_the_page_shows_what_the_commands_print(tmp_path):
    """docs/second-study.md: every command of its console blocks, in order, on the real inputs."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "second-study.md").read_text("utf-8")
    (tmp_path / "filename_label.csv").symlink_to(annotation_files() / "filename_label.csv")
    (tmp_path / "human").symlink_to(shared("data", "human"))
    for model in ("ResNet50", "ViT"):
        (tmp_path / f"{model}.csv").symlink_to(shared("data", "predictions", f"{model}.csv"))
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    environment = {**os.environ, "COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("QUBASTORE_STORE", None)
    shown = [part.split("\n", 1) for block in blocks for part in block.split("$ ")[1:]]
    assert len(shown) > 8
    for command, output in shown:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        printed = "".join(f"{line.rstrip()}\n" for line in (done.stderr + done.stdout).splitlines())
        assert printed.strip() == output.strip(), command


def test_the_suite_asks_for_what_the_study_measured():
    roles: dict[str, list[Role]] = {}
    for role in BEYOND_IMAGENET.roles:
        roles.setdefault(role.role, []).append(role)
    assert {role: len(played) for role, played in roles.items()} == {
        "clean": 1,
        "corrupted": 75,
        "robustness": 7,
        "cue_conflict": 1,
        "transformed": 4 + 4 + 5,
        "synthetic": 10,
        "transfer": 3 * 19,
    }
    assert {role.condition for role in roles["transformed"]} >= {"scale(1.25)", "shift(100)", "resolution(640)"}
    from qubastore.datasets.vtab_tasks import TASKS

    assert {f"vtab/{name}": task.n_test for name, task in TASKS.items()} == VTAB_TASKS


@pytest.mark.parametrize("name", ["deit3-base-21k", "convnext-base-21k", "vit-clip", "convnext-clip"])
def test_the_four_models_of_the_study_exist(name):
    import open_clip
    import timm

    ((spec,), left_out) = expand_models([f"zoo:{name}"])
    assert left_out == []
    if spec.loader == "timm":
        assert spec.target in timm.list_pretrained()
    else:
        assert tuple(spec.target.split("/")) in open_clip.list_pretrained()
    assert [entry.name for entry in in_group("beyond-imagenet")].count(name) == 1
