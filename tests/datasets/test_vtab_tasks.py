"""The table of VTAB's 19 tasks, and what is said where a task's files are not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qubastore.datasets.vtab_tasks import TASKS, task_table
from qubastore.errors import DatasetNotFoundError, UsageError
from qubastore.evaluators.planning.vtab import read_task


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_task(task):
    """One assertion a row; the numbers of classes are those of VTAB's code."""
    classes = {
        "caltech101": 102, "cifar100": 100, "dtd": 47, "oxford_flowers102": 102, "oxford_iiit_pet": 37, "svhn": 10,
        "sun397": 397, "patch_camelyon": 2, "eurosat": 10, "resisc45": 45, "diabetic_retinopathy": 5, "clevr_count": 8,
        "clevr_distance": 6, "dmlab": 6, "kitti_distance": 4, "dsprites_location": 16, "dsprites_orientation": 16,
        "smallnorb_azimuth": 18, "smallnorb_elevation": 9,
    }  # fmt: skip
    assert list(TASKS) == list(classes)
    assert TASKS[task.name] is task
    assert task.n_classes == classes[task.name]
    assert task.group in ("natural", "specialized", "structured")
    assert task.n_test > 700
    assert task.name != "kitti_distance" or task.n_test == 711
    assert task.about
    assert task.get
    assert f"| `{task.name}`" in task_table()
    if task.torchvision is not None:
        import torchvision

        assert callable(getattr(torchvision.datasets, task.torchvision.loader))
        assert task.torchvision.test is not None or "held out" in task.torchvision.note


def test_groups_and_loaders_are_vtabs():
    groups = [task.group for task in TASKS.values()]
    assert [groups.count(group) for group in ("natural", "specialized", "structured")] == [7, 4, 8]
    assert sum(task.torchvision is not None for task in TASKS.values()) == 10
    assert len(task_table().splitlines()) == 2 + 19


def test_the_module_loads_neither_torch_nor_numpy():
    heavy = "('torch', 'numpy', 'PIL')"
    code = f"import sys, qubastore.evaluators.planning.vtab; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", TASKS)
def test_nothing_there_names_every_place(tmp_path, name):
    with pytest.raises(DatasetNotFoundError) as caught:
        read_task(name, tmp_path)
    text, task = str(caught.value), TASKS[name]
    for parent in ("vtab", "vtab-1k", "vtab_1k"):
        assert str(tmp_path / parent / name) in text
        assert not task.also or str(tmp_path / parent / task.also) in text
    if task.torchvision is None:
        assert "torchvision has no loader for this task" in text
    else:
        for root in (f"vtab/{name}/torchvision", "torchvision"):
            assert str(tmp_path / root / task.torchvision.place) in text
    assert task.get in text
    assert "docs/vtab.md" in text
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - torchvision's Caltech101 would make a folder


def test_another_name_or_no_data_root(tmp_path):
    with pytest.raises(UsageError, match="unknown VTAB task 'cifar10'"):
        read_task("cifar10", tmp_path)
    with pytest.raises(DatasetNotFoundError, match="the folder that holds the datasets"):
        read_task("dtd", tmp_path / "none")
