"""Datasets given as NAME=PATH, with layouts and other options."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from qubastore.datasets.locating import expand, own_datasets, parse_dataset
from qubastore.errors import DatasetError, UsageError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sketch,framing=wole", "unknown framing 'wole'"),
        ("sketch,layout=class", "has the option layout, but no path"),
        ("imagnet-r", "did you mean imagenet-r"),
        ("imagenet-r", "there is no --data-root"),
        ("x=/tmp,layout=flat", "unknown layout 'flat'"),
        ("x=/tmp,framing=half", "unknown framing 'half'"),
    ],
)
def test_options_that_name_no_dataset(text, message):
    with pytest.raises(UsageError, match=message):
        parse_dataset(text)


def test_a_known_name_with_a_path_has_its_own_label_space(root):
    (data,) = parse_dataset(f"imagenet-r={root / 'imagenet-r'}")
    assert data.label_space == "imagenet-r"
    assert expand("imagenet-c")[0] == "imagenet-c/gaussian_noise/1"


def test_corruptions_of_ones_own(tmp_path):
    for cell in ("fog/1", "fog/2", "rain/1"):
        (tmp_path / cell / "cat").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / cell / "cat" / "1.png")
    found = parse_dataset(f"pets-c={tmp_path},layout=corruption/severity/class,framing=whole")
    assert [(d.name, d.framing, d.factors["severity"]) for d in found] == [
        ("pets-c/fog/1", "whole", "1"),
        ("pets-c/fog/2", "whole", "2"),
        ("pets-c/rain/1", "whole", "1"),
    ]
    # Same images, same keys, another cell: another dataset.
    assert len({d.dataset_id for d in found}) == 3


def test_names_of_classes_with_dashes_and_underscores(tmp_path):
    for shape in ("living_room", "t-shirt"):
        (tmp_path / shape).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "t-shirt" / "t-shirt1-living_room2.png")
    (data,) = own_datasets("cues", tmp_path, "shape-texture")
    assert data.samples[0].factors == {"shape": "t-shirt", "texture": "living_room"}


def test_a_layout_is_part_of_the_identity(tmp_path):
    """Read as plain class folders, the same files are another dataset: what is known of them is not stored with it."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for file in ("cat/cat1-dog1.png", "dog/dog1-cat1.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / file)
    (plain,), (cues,) = own_datasets("x", tmp_path), own_datasets("x", tmp_path, "shape-texture")
    assert [s.key for s in plain.samples] == [s.key for s in cues.samples]
    assert plain.dataset_id != cues.dataset_id


def test_parts_of_a_set_are_taken_and_the_others_named(own_root):
    shutil.rmtree(own_root / "imagenet-c" / "fog")
    for text, data_root_ in ((f"imagenet-c={own_root / 'imagenet-c'}", None), ("imagenet-c", own_root)):
        said: list[str] = []
        assert len(parse_dataset(text, data_root_, said.append)) == 70
        assert said == [
            f"left out: dataset imagenet-c/fog/1: {own_root}/imagenet-c/fog/1 does not exist,"
            " and 4 more of its 75 parts"
        ]


def test_digits_as_classes_of_cue_conflict_images(tmp_path):
    """Names of classes may end in digits, as long as the file name can be read in one way."""
    for shape in ("1", "3"):
        (tmp_path / shape).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "3" / "312-145.png")
    (data,) = own_datasets("cues", tmp_path, "shape-texture")
    assert data.samples[0].factors == {"shape": "3", "texture": "1"}
    (tmp_path / "11").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "3" / "312-111.png")
    with pytest.raises(DatasetError, match="it could be"):
        own_datasets("cues", tmp_path, "shape-texture")
