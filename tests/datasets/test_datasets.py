"""Class folders as datasets: order, identity, label spaces, and folders that are not datasets."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from qubastore.datasets.dataset import images_in_memory
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import IMAGENET_1K, OWN_CLASSES, imagenet_synsets
from qubastore.datasets.locating import parse_dataset
from qubastore.errors import DatasetError, UsageError


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
def test_a_folder_that_is_not_a_synset_is_named(tmp_path, stranger):
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
    with pytest.raises(DatasetError, match="does not exist"):
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
    with pytest.raises(UsageError, match="does not name a dataset"):
        parse_dataset(text)


# The order of classes, splits, what is left out ---------------------------------------------------------------
@pytest.mark.parametrize(
    ("folders", "code_point", "natural"),
    [
        ([str(n) for n in range(12)], list(map(str, range(12))), list(map(str, range(12)))),
        (["img1", "img2", "img10"], ["img1", "img10", "img2"], ["img1", "img2", "img10"]),
        (["Apple", "banana", "Cherry"], ["Apple", "Cherry", "banana"], ["Apple", "banana", "Cherry"]),
        (["cat", "dog"], ["cat", "dog"], ["cat", "dog"]),
        # Not 0 to N - 1: which number means which output is not known.
        (["1", "2", "10"], ["1", "10", "2"], ["1", "2", "10"]),
        (["00", "01", "02"], ["00", "01", "02"], ["00", "01", "02"]),
    ],
)
def test_the_order_of_class_folders(tmp_path, folders, code_point, natural):
    """natural, case-blind order is timm's own."""
    from timm.data import create_dataset

    make(tmp_path, *(f"{folder}/a.png" for folder in folders))
    found = image_folder("pets", tmp_path)
    assert list(found.classes) == code_point
    timms = image_folder("pets", tmp_path, order="natural")
    assert list(timms.classes) == natural == list(create_dataset("", str(tmp_path)).reader.class_to_idx)
    said = [note for note in found.notes if "order=natural" in note]
    assert bool(said) == (code_point != natural)
    assert not timms.notes
    assert not image_folder("pets", tmp_path, order="code-point").notes
    assert (found.dataset_id == timms.dataset_id) == (code_point == natural)
    # Labels follow.
    assert [s.label for s in timms.samples] == [natural.index(s.key.partition("/")[0]) for s in timms.samples]


def test_an_order_for_every_layout_of_class_folders(tmp_path):
    from qubastore.datasets.locating import own_datasets

    names = ["Apple", "banana", "Cherry"]
    make(tmp_path, *(f"c/fog/1/{name}/a.png" for name in names))
    make(tmp_path, *(f"cue/{a}/{a}1-{b}2.png" for a in names for b in names))
    for layout, folder in (("corruption/severity/class", "c"), ("shape-texture", "cue"), ("class", "c/fog/1")):
        (plain,) = own_datasets("x", tmp_path / folder, layout)
        (natural,) = own_datasets("x", tmp_path / folder, layout, order="natural")
        assert plain.classes == ("Apple", "Cherry", "banana")
        assert any("order=natural" in note for note in plain.notes)
        assert natural.classes == tuple(names)
    with pytest.raises(UsageError, match="order= is only for your own class folders"):
        own_datasets("imagenet-val", tmp_path, order="natural")


def test_synsets_have_an_order_of_their_own(tmp_path):
    make(tmp_path, "n01440764/a.png")
    with pytest.raises(UsageError, match="synsets, whose order is fixed"):
        image_folder("val", tmp_path, order="natural")


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        (["train", "val"], "val"),
        (["Training", "Validation"], "Validation"),
        (["train", "valid", "annotations"], "valid"),
        (["train", "test"], "test"),
        (["val"], "val"),
        (["train2017", "val2017"], "val2017"),
        (["training_set", "test_set"], "test_set"),
    ],
)
@pytest.mark.parametrize("name", ["pets", "imagenet-val", "mixed_same", "imagenet-v2/top-images"])
def test_splits_are_not_taken_for_classes(tmp_path, folders, split, name):
    from qubastore.datasets.locating import own_datasets

    make(tmp_path, *(f"{folder}/cat/{n}.png" for folder in folders for n in range(2)))
    with pytest.raises(DatasetError, match="contains splits instead of classes") as caught:
        own_datasets(name, tmp_path)
    hint = caught.value.hint
    assert hint is not None
    assert f"{name}={tmp_path / split}" in hint
    assert ("layout=splits" in hint) == ({"train", "test"} <= set(folders))


def test_a_class_may_be_called_train(tmp_path):
    from qubastore.datasets.locating import own_datasets

    make(tmp_path, "train/a.png", "bus/a.png")
    assert image_folder("vehicles", tmp_path).classes == ("bus", "train")
    make(tmp_path, "test/a.png")
    assert own_datasets("vehicles", tmp_path, "class")[0].classes == ("bus", "test", "train")


def test_images_that_are_left_out_are_counted(tmp_path):
    make(tmp_path, "a/x.png", "b/y.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "a" / "z.jfif", format="JPEG")
    Image.new("RGB", (9, 9)).save(tmp_path / "b" / "noend", format="PNG")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "stray.png")
    found = image_folder("pets", tmp_path)
    assert len(found.samples) == 2
    assert found.notes == (
        "2 files left out: they are images without an image's extension (.jfif, no extension; for example a/z.jfif);"
        " rename them to include them",
        "1 image is outside the class folders, left out (for example stray.png)",
    )


def test_one_class_folder_alone_is_told(tmp_path):
    make(tmp_path, "images/cat/a.png", "images/dog/b.png")
    assert "only one class folder, images" in image_folder("pets", tmp_path).notes[0]
