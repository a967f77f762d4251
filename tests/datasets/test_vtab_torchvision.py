"""VTAB's tasks from the files that torchvision's loaders read."""

from __future__ import annotations

import hashlib
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from qubastore.datasets.vtab_tasks import TASKS
from qubastore.errors import DatasetError, DatasetNotFoundError
from qubastore.evaluators.planning import vtab
from qubastore.evaluators.planning.vtab import read_task
from tests.datasets.vtab_checks import check
from tests.support.vtab_files import PER_CLASS, WRITERS, picture, write_clevr, write_dtd, write_eurosat

HELD_OUT = ("caltech101", "eurosat", "sun397")


@pytest.fixture
def few(monkeypatch):
    """12 and 6 images in the place of 800 and 200."""
    monkeypatch.setattr(vtab, "N_TRAIN", 12)
    monkeypatch.setattr(vtab, "N_VAL", 6)


def test_every_loader_is_tried():
    assert list(WRITERS) == [task.name for task in TASKS.values() if task.torchvision]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("place", ["own", "shared"])
def test_torchvision(tmp_path, monkeypatch, few, name, place):
    """27 images to train and 27 to test; of sets without a test split 54, a fifth of them is 10."""
    WRITERS[name](tmp_path / (f"vtab/{name}/torchvision" if place == "own" else "torchvision"), monkeypatch)
    datasets = read_task(name, tmp_path)
    check(datasets, name, (12, 6, 10 if name in HELD_OUT else 27))
    again = read_task(name, tmp_path)
    assert [d.dataset_id for d in again] == [d.dataset_id for d in datasets]
    how = TASKS[name].torchvision
    assert how is not None
    in_arrays = how.files is None
    assert {d.root is None for d in datasets} == {in_arrays}
    # Labels are torchvision's own: looked up in the loader, image by image.
    import torchvision

    for data in datasets:
        arguments = how.test if data.name.endswith("/test") and how.test is not None else how.train
        root = tmp_path / (f"vtab/{name}/torchvision" if place == "own" else "torchvision")
        loaded = getattr(torchvision.datasets, how.loader)(str(root), download=False, **arguments)
        if in_arrays:
            for sample in data.samples:
                image, label = loaded[int(sample.key.split("/")[1])]
                assert sample.label == label
                assert sample.data is not None
                assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.data))), np.asarray(image))
        else:
            # The same pixels, the same label, for every image of the loader that was chosen.
            known = {np.asarray(image.convert("RGB")).tobytes(): label for image, label in loaded}
            for sample in data.samples:
                with Image.open(f"{data.root}/{sample.path}") as image:
                    assert known[np.asarray(image.convert("RGB")).tobytes()] == sample.labels[0] + how.first_label


def test_the_draw_is_by_hash(tmp_path, monkeypatch, few):
    """Of all keys in the order of SHA-256("0:key"): the first fifth is the test split, then 12, then 6."""
    write_eurosat(tmp_path / "torchvision", monkeypatch)
    keys = [f"{i}/{c}_{n + 1}.jpg" for i, c in enumerate(("Forest", "Highway", "River")) for n in range(2 * PER_CLASS)]
    keys.sort(key=lambda key: hashlib.sha256(f"0:{key}".encode()).hexdigest())
    drawn = [{s.key for s in data.samples} for data in read_task("eurosat", tmp_path)]
    assert drawn == [set(keys[10:22]), set(keys[22:28]), set(keys[:10])]


def test_class_names_and_digits(tmp_path, monkeypatch, few):
    for name in ("clevr_count", "svhn", "cifar100", "sun397", "caltech101"):
        WRITERS[name](tmp_path / "vtab" / name / "torchvision", monkeypatch)
    assert read_task("clevr_count", tmp_path)[0].classes == (*"3456789", "10")
    assert read_task("svhn", tmp_path)[0].classes == tuple("0123456789")
    assert {s.label for s in read_task("svhn", tmp_path)[2].samples} == {0, 1, 2}
    assert read_task("cifar100", tmp_path)[0].classes == ("apple", "bear", "cloud")
    assert read_task("sun397", tmp_path)[0].classes[1] == "apartment_building/outdoor"
    assert read_task("caltech101", tmp_path)[0].classes == ("accordion", "ant", "yin_yang")


def test_files_are_not_decoded(tmp_path, monkeypatch, few):
    write_dtd(tmp_path / "torchvision", monkeypatch)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    assert read_task("dtd", tmp_path)


def test_fewer_than_a_thousand_images(tmp_path, monkeypatch):
    write_eurosat(tmp_path / "torchvision", monkeypatch)
    with pytest.raises(DatasetError, match="at least 1000, without the test split\n  found: 44"):
        read_task("eurosat", tmp_path)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "cifar100",
            lambda r: (r / "cifar-100-python/train").write_bytes(b""),
            "RuntimeError: Dataset not found or corr",
        ),
        ("dtd", lambda r: (r / "dtd/dtd/labels/test1.txt").unlink(), r"FileNotFoundError: .*test1\.txt"),
        (
            "caltech101",
            lambda r: [p.unlink() for p in r.rglob("image_0002.jpg")],
            r"FileNotFoundError: .*image_0002\.jpg",
        ),
        ("clevr_count", lambda r: picture(r / "clevr/CLEVR_v1.0/images/val/x.png", 0), "KeyError: 'x.png'"),
    ],
)
def test_what_torchvision_refuses(tmp_path, monkeypatch, few, name, spoil, message):
    WRITERS[name](tmp_path / "torchvision", monkeypatch)
    spoil(tmp_path / "torchvision")
    if name == "caltech101":
        monkeypatch.setattr(vtab, "N_TRAIN", 35)  # with 6 and the fifth, all that are listed
    with pytest.raises(DatasetNotFoundError, match=message) as caught:
        read_task(name, tmp_path)
    assert TASKS[name].get in str(caught.value)
    assert str(tmp_path / "vtab" / name / "torchvision") in str(caught.value)


def test_without_h5py(tmp_path, monkeypatch):
    (tmp_path / "torchvision" / "pcam").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DatasetNotFoundError, match="please run pip install h5py"):
        read_task("patch_camelyon", tmp_path)


def test_splits_of_torchvision_that_disagree(tmp_path, monkeypatch, few):
    """DTD's classes are those that a list names."""
    write_dtd(tmp_path / "torchvision", monkeypatch)
    file = tmp_path / "torchvision/dtd/dtd/labels/test1.txt"
    file.write_text("\n".join(line for line in file.read_text().split("\n") if "dotted" not in line))
    with pytest.raises(DatasetError, match=r"vtab/dtd/test .*wrong classes\n.*in vtab/dtd/train\n.*only one: dotted"):
        read_task("dtd", tmp_path)


def test_counts_that_are_no_class(tmp_path, monkeypatch, few):
    """Two objects: CLEVR has 3 to 10."""
    write_clevr(tmp_path / "torchvision", monkeypatch)
    file = tmp_path / "torchvision/clevr/CLEVR_v1.0/scenes/CLEVR_val_scenes.json"
    scenes = json.loads(file.read_text())
    scenes["scenes"][0]["objects"] = [{}, {}]
    file.write_text(json.dumps(scenes))
    with pytest.raises(DatasetError, match=r"labels 0 to 7\n  found: \[-1\]"):
        read_task("clevr_count", tmp_path)
