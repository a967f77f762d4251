"""Datasets that are known by name, in their authors' layouts, and the errors for layouts that differ."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from qubastore.datasets.catalogue import KNOWN_DATASETS
from qubastore.datasets.label_spaces import imagenet_synsets, label_space
from qubastore.datasets.locating import locate, locate_suite, own_datasets
from qubastore.errors import DatasetError, DatasetNotFoundError
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.metrics.suites import QUBA
from tests.datasets.decoding import decoded
from tests.support import data_root


def test_every_dataset_of_the_suite_is_found(root):
    found, missing = locate_suite(QUBA.datasets, [], root)
    assert missing == []
    assert [data.name for data in found] == QUBA.datasets
    by_name = {data.name: data for data in found}
    assert {data.framing for name, data in by_name.items() if name.startswith("imagenet-c")} == {"whole"}
    cell = by_name["imagenet-c/fog/3"]
    assert {tuple(sample.factors.items()) for sample in cell.samples} == {(("corruption", "fog"), ("severity", "3"))}
    assert cell.factors == {"corruption": "fog", "severity": "3"}
    assert cell.keep == ("outputs",)
    assert by_name["imagenet-val"].keep is None


@pytest.mark.parametrize("name", [name for name in KNOWN_DATASETS if not name.startswith("imagenet-c/")])
def test_labels_are_those_of_the_label_space(root, name):
    data = locate(name, root)
    layout = KNOWN_DATASETS[name]
    assert data.classes == label_space(layout.label_space).classes
    assert (data.framing, data.image_size, data.label_space) == (layout.framing, layout.image_size, layout.label_space)
    for sample in data.samples:
        folder = sample.key.partition("/")[0]
        stripped = folder[3:] if layout.label_space == "in9" else folder
        assert data.classes[sample.labels[0]] == stripped


def test_the_label_of_a_subset_is_its_place_in_the_subset(root):
    """Goldfish is class 1 of ImageNet and class 0 of ImageNet-R."""
    assert {sample.label for sample in locate("imagenet-r", root).samples} == {0}


def test_model_vs_human_files_say_category_shape_and_texture(root):
    sketch = locate("sketch", root)
    assert [s.key for s in sketch.samples] == [
        "airplane/0001_skt_dnn_0_airplane_00_airplane-n02691150_1.png",
        "cat/0002_skt_dnn_0_cat_00_cat-n02691151_1.png",
        "knife/0003_skt_dnn_0_knife_00_knife-n02691152_1.png",
    ]
    cues = locate("cue-conflict", root).samples
    assert {(s.factors["shape"], s.factors["texture"]) for s in cues} == {
        (shape, texture) for shape in ("airplane", "cat", "knife") for texture in ("airplane", "cat", "knife")
    }


def test_cue_conflict_as_one_folder_is_the_same_dataset(own_root):
    """model-vs-human's flat files and the folders of shapes: equal keys, equal identity."""
    folder = own_root / "model-vs-human/datasets/cue-conflict"
    before = locate("cue-conflict", own_root)
    flat = folder / "dnn" / "session-1"
    flat.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.glob("*/*.png"))):
        file.rename(flat / f"{number + 1:04d}_cue_dnn_0_{file.parent.name}_00_{file.name}")
    for shape in ("airplane", "cat", "knife"):
        (folder / shape).rmdir()
    after = locate("cue-conflict", own_root)
    assert after.dataset_id == before.dataset_id
    assert [s.factors for s in after.samples] == [s.factors for s in before.samples]


def test_grouped_archives_of_imagenet_c(own_root):
    """blur.tar may have been unpacked into blur/."""
    folder = own_root / "imagenet-c"
    before = locate("imagenet-c/zoom_blur/2", own_root)
    (folder / "blur").mkdir()
    (folder / "zoom_blur").rename(folder / "blur" / "zoom_blur")
    assert locate("imagenet-c/zoom_blur/2", own_root).dataset_id == before.dataset_id
    assert len(own_datasets("imagenet-c", folder)) == 75


def write_devkit(folder, numbers, order):
    from scipy.io import savemat

    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in numbers))
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = np.array([(i + 1, synset, "word") for i, synset in enumerate(order)], dtype=kind)
    savemat(data / "meta.mat", {"synsets": rows[:, None]})


def test_the_flat_official_files_with_the_devkit(own_root):
    """The devkit numbers classes in its own order; the identity is that of synset folders with the same files."""
    val = own_root / "imagenet-val"
    for number, synset in enumerate(data_root.SYNSETS, start=1):
        (val / synset / "ILSVRC2012_val_00000001.JPEG").rename(val / synset / f"ILSVRC2012_val_{number:08d}.JPEG")
    folders = locate("imagenet-val", own_root)
    contents = decoded(folders)
    for file in val.glob("*/*.JPEG"):
        file.rename(val / file.name)
    for synset in data_root.SYNSETS:
        (val / synset).rmdir()
    with pytest.raises(DatasetError, match="there is no devkit with their labels"):
        locate("imagenet-val", own_root)
    order = tuple(reversed(imagenet_synsets()))
    # Beside the images, or among them.
    write_devkit(val, [order.index(synset) + 1 for synset in data_root.SYNSETS], order)
    flat = locate("imagenet-val", own_root)
    assert flat.dataset_id == folders.dataset_id
    assert [s.label for s in flat.samples] == [s.label for s in folders.samples]
    assert decoded(flat) == contents


def test_a_stranger_among_the_flat_files(own_root):
    val = own_root / "imagenet-val"
    for number, file in enumerate(sorted(val.glob("*/*.JPEG")), start=1):
        file.rename(val / f"ILSVRC2012_val_{number:08d}.JPEG")
    for synset in data_root.SYNSETS:
        (val / synset).rmdir()
    write_devkit(own_root, [1, 2, 3, 4], imagenet_synsets())
    (val / "ILSVRC2012_val_00000004.JPEG").rename(val / "holiday.JPEG")
    with pytest.raises(DatasetError, match=r"holiday\.JPEG is not an official validation file"):
        locate("imagenet-val", own_root)


def test_what_is_missing_is_named_with_the_path_and_the_rest_goes_on(own_root):
    shutil.rmtree(own_root / "imagenet-r")
    shutil.rmtree(own_root / "imagenet-c" / "snow" / "4")
    found, missing = locate_suite(QUBA.datasets, ["sketch"], own_root)
    assert [name for name, _ in missing] == ["imagenet-c/snow/4", "imagenet-r"]
    assert all(isinstance(error, DatasetNotFoundError) for _, error in missing)
    assert f"{own_root}/imagenet-c/snow/4 does not exist" in str(missing[0][1])
    assert len(found) == len(QUBA.datasets) - 3


def test_a_data_root_that_is_not_there(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="the folder with the datasets"):
        locate_suite(QUBA.datasets, [], tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("imagenet-r", "imagenet-r/n01440764/a.jpg", "'n01440764' is not in the label space"),
        ("imagenet-val", "imagenet-val/tench/a.jpg", "'tench' is not in the label space"),
        ("mixed_rand", "bg_challenge/mixed_rand/val/09_plant/a.jpg", "'09_plant' is not in the label space"),
        ("sketch", "model-vs-human/datasets/sketch/dnn/session-1/photo.png", "does not contain its category"),
        ("edge", "model-vs-human/datasets/edge/dnn/session-1/1_e_dnn_0_moose_00_m.png", "'moose' as category"),
        ("cue-conflict", "model-vs-human/datasets/cue-conflict/cat/cat7.png", "does not contain its shape and texture"),
        ("cue-conflict", "model-vs-human/datasets/cue-conflict/cat/cat1-moose2.png", "does not contain its shape"),
    ],
)
def test_another_layout_is_an_error(own_root, name, spoil, message):
    (own_root / spoil).parent.mkdir(exist_ok=True, parents=True)
    shutil.copy(next(own_root.rglob("*.png")), own_root / spoil)
    with pytest.raises(DatasetError, match=message):
        locate(name, own_root)


def test_images_of_another_size_than_the_set_has(own_root):
    """The first is looked at when the run is planned, every one when it is decoded."""
    cell = own_root / "imagenet-c" / "fog" / "1"
    first, *_, last = sorted(cell.glob("*/*.JPEG"))
    Image.new("RGB", (64, 64)).save(last)
    data = locate("imagenet-c/fog/1", own_root)
    sample = data.samples[-1]
    with pytest.raises(DatasetError, match="has a different size than its dataset"):
        decode([SampleFile(3, sample.key, str(last), size=data.image_size)], None)
    Image.new("RGB", (64, 64)).save(first)
    with pytest.raises(DatasetError, match="is not of the size that the dataset's authors distribute"):
        locate("imagenet-c/fog/1", own_root)
