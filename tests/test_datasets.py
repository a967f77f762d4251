"""Class folders as datasets: order, identity, label spaces, and folders that are none."""

from __future__ import annotations

import os

import pytest

from qubastore.datasets import image_folder, images_in_memory
from qubastore.errors import DatasetError, UsageError
from qubastore.labels import IMAGENET_1K, OWN_CLASSES, imagenet_synsets
from qubastore.layouts import parse_dataset


def make(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (1 + len(file)))
    return root


def test_a_tree_of_class_folders(tmp_path):
    make(
        tmp_path,
        "dog/1.JPG",
        "cat/deep/er/2.png",
        "cat/1.jpeg",
        "cat/notes.txt",
        "cat/.hidden.png",
        ".git/x.png",
        "readme.md",
    )
    data = image_folder("pets", tmp_path)
    assert [sample.key for sample in data.samples] == ["cat/1.jpeg", "cat/deep/er/2.png", "dog/1.JPG"]
    assert [sample.label for sample in data.samples] == [0, 0, 1]
    assert data.classes == ("cat", "dog")
    assert data.label_space == OWN_CLASSES


def test_synset_folders_are_imagenet_whatever_the_subset(tmp_path):
    make(tmp_path, "n01440764/a.JPEG", "n13133613/b.JPEG")
    data = image_folder("val", tmp_path)
    assert data.label_space == IMAGENET_1K
    assert [sample.label for sample in data.samples] == [0, imagenet_synsets().index("n13133613")]
    assert len(data.classes) == 1000


@pytest.mark.parametrize("stranger", ["n00000001", "tench"])
def test_a_folder_that_is_no_synset_is_named(tmp_path, stranger):
    make(tmp_path, "n01440764/a.JPEG", f"{stranger}/b.JPEG")
    with pytest.raises(DatasetError, match=f"'{stranger}' is not in the label space"):
        image_folder("val", tmp_path)


def test_an_empty_class_folder_keeps_its_place(tmp_path):
    make(tmp_path, "a/1.png", "c/1.png")
    (tmp_path / "b").mkdir()
    assert [s.label for s in image_folder("x", tmp_path).samples] == [0, 2]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no class folders"),
        (["1.png"], "has no class folders"),
        (["a/notes.txt"], "no images in the 1 class folders"),
    ],
)
def test_folders_that_are_no_dataset(tmp_path, files, message):
    make(tmp_path, *files)
    with pytest.raises(DatasetError, match=message):
        image_folder("x", tmp_path)


def test_a_missing_folder_names_the_path(tmp_path):
    with pytest.raises(DatasetError, match="is not there"):
        image_folder("x", tmp_path / "nowhere")


def test_a_new_class_makes_another_dataset(tmp_path):
    make(tmp_path, "b/1.png", "c/1.png")
    before = image_folder("x", tmp_path).dataset_id
    (tmp_path / "a").mkdir()
    assert image_folder("x", tmp_path).dataset_id != before, "every label moved up by one"


def test_files_that_cannot_be_read_are_named(tmp_path):
    make(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"a/2.png cannot be read"):
        image_folder("x", tmp_path)


def test_file_names_that_are_no_text(tmp_path):
    make(tmp_path, "a/1.png")
    (tmp_path / "a" / "1.png").rename(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff.png"))
    with pytest.raises(DatasetError, match="is not UTF-8"):
        image_folder("x", tmp_path)


def test_identity(tmp_path):
    make(tmp_path / "one", "a/1.png", "b/2.png")
    make(tmp_path / "two", "a/1.png", "b/2.png")
    one, two = image_folder("x", tmp_path / "one"), image_folder("x", tmp_path / "two")
    assert one.dataset_id == two.dataset_id, "where it lies does not matter"
    assert image_folder("y", tmp_path / "one").dataset_id != one.dataset_id
    (tmp_path / "two" / "b" / "2.png").write_bytes(b"longer than before")
    assert image_folder("x", tmp_path / "two").dataset_id != one.dataset_id


def test_a_subset_is_spread_and_a_dataset_of_its_own(tmp_path):
    make(tmp_path, *(f"{name}/{i}.png" for name in "abcde" for i in range(10)))
    data = image_folder("x", tmp_path)
    part = data.limited(5)
    assert [sample.label for sample in part.samples] == [0, 1, 2, 3, 4]
    assert part.dataset_id != data.dataset_id
    assert data.limited(50) is data
    assert data.limited(None) is data
    with pytest.raises(UsageError):
        data.limited(0)


def test_in_memory():
    data = images_in_memory("x", [b"one", b"two"], [1, 0], ["a", "b"])
    relabelled = images_in_memory("x", [b"one", b"two"], [0, 0], ["a", "b"])
    assert relabelled.dataset_id != data.dataset_id
    assert images_in_memory("x", [b"one", b"two"], [1, 0], ["a", "c"]).dataset_id != data.dataset_id
    other = images_in_memory("x", [b"one", b"TWO"], [1, 0], ["a", "b"])
    assert data.dataset_id != other.dataset_id, "equal sizes, other content"
    with pytest.raises(DatasetError, match="2 images and 1 labels"):
        images_in_memory("x", [b"one", b"two"], [1], ["a", "b"])
    with pytest.raises(DatasetError, match="label 2"):
        images_in_memory("x", [b"one"], [2], ["a", "b"])


@pytest.mark.parametrize("text", ["=path", "val="])
def test_option_text_that_names_no_dataset(text):
    with pytest.raises(UsageError, match="names no dataset"):
        parse_dataset(text)
