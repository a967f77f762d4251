"""VTAB's tasks from lists of files and from class folders."""

from __future__ import annotations

import pytest

from qubastore.datasets.vtab_tasks import TASKS
from qubastore.errors import DatasetError
from qubastore.evaluators.planning.vtab import read_task
from tests.datasets.vtab_checks import check
from tests.support.vtab_files import picture, write_folders, write_lists

LISTED = ("cifar100", "resisc45", "clevr_distance", "kitti_distance", "smallnorb_elevation")


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("parent", ["vtab", "vtab-1k", "vtab_1k"])
def test_lists(tmp_path, parent, name):
    write_lists(tmp_path / parent / (TASKS[name].also or name), TASKS[name].n_classes)
    datasets = read_task(name, tmp_path)
    check(datasets, name, (8, 4, 6))
    assert datasets[0].classes == tuple(map(str, range(TASKS[name].n_classes)))
    assert datasets[1].samples[2].path == "images/val200/000002.jpg"
    assert datasets[1].samples[2].key == "2/images/val200/000002.jpg"
    assert datasets[1].samples[2].label == 2


def test_another_label_is_another_dataset(tmp_path):
    """The same files in the same order, other labels: keys begin with the label, so ids differ."""
    write_lists(tmp_path / "vtab" / "dmlab", 6)
    before = read_task("dmlab", tmp_path)[2].dataset_id
    file = tmp_path / "vtab" / "dmlab" / "test.txt"
    file.write_text(file.read_text().replace("000000.jpg 0", "000000.jpg 1"))
    assert read_task("dmlab", tmp_path)[2].dataset_id != before


def test_lists_come_before_class_folders(tmp_path):
    write_folders(tmp_path / "vtab" / "dtd")
    assert read_task("dtd", tmp_path)[0].classes == ("ant", "bee")
    write_lists(tmp_path / "vtab_1k" / "dtd", 47)
    assert len(read_task("dtd", tmp_path)[0].classes) == 47


def test_file_names_with_spaces_and_blank_lines(tmp_path):
    folder = tmp_path / "vtab" / "sun397"
    write_lists(folder, 397)
    picture(folder / "a b.png", 0)
    (folder / "test.txt").write_text("\na b.png\t3\r\n\nimages/test/000001.jpg 4")
    assert [(s.path, s.label) for s in read_task("sun397", tmp_path)[2].samples] == [
        ("a b.png", 3),
        ("images/test/000001.jpg", 4),
    ]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("train800.txt", "images/train800/000000.jpg", r"train800\.txt:9 is malformed"),
        ("train800.txt", "7", r"train800\.txt:9 is malformed"),
        ("val200.txt", "images/val200/000000.jpg cat", r"val200\.txt:5 is malformed"),
        ("val200.txt", "images/val200/000000.jpg 1.0", r"val200\.txt:5 is malformed"),
        ("test.txt", "/etc/passwd 1", r"test\.txt:7 is malformed"),
        ("test.txt", "../kitti/x.jpg 1", r"test\.txt:7 is malformed"),
        ("test.txt", "images/test/000000.jpg 4", r"test\.txt:7 has the label 4\n  expected: 0 to 3"),
        ("test.txt", "images/test/000000.jpg -1", r"test\.txt:7 has the label -1"),
        ("test.txt", "images/test/none.jpg 1", r"test\.txt:7: .*images/test/none\.jpg cannot be read"),
        ("test.txt", "images/test/000000.jpg 0", r"two images are called 0/images/test/000000\.jpg"),
        ("test.txt", "images/val200/000000.jpg 0", r"val200\.txt and test\.txt share images/val200/000000\.jpg"),
    ],
)
def test_lists_that_are_wrong(tmp_path, file, line, message):
    folder = tmp_path / "vtab-1k" / "kitti"
    write_lists(folder, 4)
    with (folder / file).open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DatasetError, match=message):
        read_task("kitti_distance", tmp_path)


def test_a_list_is_missing_or_shows_one_class(tmp_path):
    folder = tmp_path / "vtab" / "eurosat"
    write_lists(folder, 10)
    (folder / "test.txt").write_text("images/test/000000.jpg 3\nimages/test/000001.jpg 3\n")
    with pytest.raises(DatasetError, match="at least two classes\n  found: 2 images of 1"):
        read_task("eurosat", tmp_path)
    (folder / "test.txt").write_text("")
    with pytest.raises(DatasetError, match="found: 0 images of 0"):
        read_task("eurosat", tmp_path)
    (folder / "val200.txt").unlink()
    with pytest.raises(DatasetError, match=r"val200\.txt cannot be read"):
        read_task("eurosat", tmp_path)


@pytest.mark.parametrize("name", ["oxford_iiit_pet", "diabetic_retinopathy"])
def test_class_folders(tmp_path, name):
    write_folders(tmp_path / "vtab" / name)
    datasets = read_task(name, tmp_path)
    check(datasets, name, (6, 6, 6))
    assert [(s.key, s.label) for s in datasets[0].samples][2:4] == [("ant/train2.png", 0), ("bee/train0.png", 1)]
    assert datasets[0].classes == ("ant", "bee")


def test_class_folders_without_val(tmp_path):
    write_folders(tmp_path / "vtab" / "dmlab", splits=("train", "test"))
    assert [d.name for d in read_task("dmlab", tmp_path)] == ["vtab/dmlab/train", "vtab/dmlab/test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "val/ant").rename(f / "val/wasp"), "the same classes as in .*/train\n.*only one: ant, wasp"),
        (lambda f: (f / "test").rename(f / "tests"), "test does not exist"),
        (lambda f: [p.unlink() for p in f.glob("test/bee/*")], "wrong classes\n.*at least two classes"),
        (
            lambda f: [picture(f / s / c / "1.png", 0) for s in ("train", "val", "test") for c in "123"],
            "2 classes\n.*: 5",
        ),
    ],
)
def test_class_folders_that_are_wrong(tmp_path, change, message):
    folder = tmp_path / "vtab" / "patch_camelyon"
    write_folders(folder)
    change(folder)
    with pytest.raises(DatasetError, match=message):
        read_task("patch_camelyon", tmp_path)
