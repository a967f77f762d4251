"""The 19 tasks of VTAB-1k, on miniature sets: lists, class folders, and the files that torchvision's loaders read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qubastore.datasets.vtab_tasks import TASKS, task_table
from qubastore.errors import DatasetError, DatasetNotFoundError, UsageError
from qubastore.evaluators.planning import vtab
from qubastore.evaluators.planning.vtab import read_task
from qubastore.evaluators.worker.images import SampleFile, decode

LISTED = ("cifar100", "resisc45", "clevr_distance", "kitti_distance", "smallnorb_elevation")


SPLITS = ("train800", "val200", "test")


PER_CLASS = 9


def picture(path, seed, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_lists(folder, n_classes, counts=(8, 4, 6)):
    """The form of NOAH's get_vtab1k.py: `images/SPLIT/000000.jpg LABEL`."""
    for split, count in zip(SPLITS, counts, strict=True):
        for number in range(count):
            picture(folder / "images" / split / f"{number:06d}.jpg", number)
        lines = [f"images/{split}/{number:06d}.jpg {number % n_classes}\n" for number in range(count)]
        (folder / f"{split}.txt").write_text("".join(lines))


def write_folders(folder, classes=("ant", "bee"), splits=("train", "val", "test")):
    for split in splits:
        for label, name in enumerate(classes):
            for number in range(3):
                picture(folder / split / name / f"{split}{number}.png", 10 * label + number)


def files_of(dataset):
    return [
        SampleFile(i, s.key, f"{dataset.root}/{s.path or s.key}" if s.data is None else None, s.data)
        for i, s in enumerate(dataset.samples)
    ]


def check(datasets, name, sizes):
    """What every reader promises: names, order, label space, what is kept, images that decode, sizes that are true."""
    assert [d.name for d in datasets] == [f"vtab/{name}/{split}" for split in ("train", "val", "test")]
    assert [len(d.samples) for d in datasets] == list(sizes)
    seen = set()
    for data in datasets:
        assert (data.label_space, data.framing, data.keep) == ("transfer", "model", ("outputs", "features"))
        assert [s.key for s in data.samples] == sorted(s.key for s in data.samples)
        assert {s.label for s in data.samples} <= set(range(len(data.classes)))
        assert len(data.classes) <= TASKS[name].n_classes
        assert not decode(files_of(data), None).failures
        for sample, file in zip(data.samples, files_of(data), strict=True):
            assert sample.size == (len(sample.data) if sample.data is not None else Path(file.path).stat().st_size)
            place = sample.key if file.path is None else file.path
            assert place not in seen
            seen.add(place)
    assert len({d.dataset_id for d in datasets}) == 3


# The table ---------------------------------------------------------------------------------------------------
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


# Lists -------------------------------------------------------------------------------------------------------
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
    with pytest.raises(DatasetError, match="two classes at least\n  found: 2 images of 1"):
        read_task("eurosat", tmp_path)
    (folder / "test.txt").write_text("")
    with pytest.raises(DatasetError, match="found: 0 images of 0"):
        read_task("eurosat", tmp_path)
    (folder / "val200.txt").unlink()
    with pytest.raises(DatasetError, match=r"val200\.txt cannot be read"):
        read_task("eurosat", tmp_path)


# Class folders -----------------------------------------------------------------------------------------------
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
        (lambda f: (f / "val/ant").rename(f / "val/wasp"), "the same classes as in .*/train\n.*alone: ant, wasp"),
        (lambda f: (f / "test").rename(f / "tests"), "test is not there"),
        (lambda f: [p.unlink() for p in f.glob("test/bee/*")], "wrong classes\n.*two classes at least"),
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


# What torchvision reads --------------------------------------------------------------------------------------
# Each writer makes the files that the loader of that task looks for, PER_CLASS images of each of three classes a split.
def write_dtd(root, monkeypatch):
    names = {s: [f"{c}/{c}_{s}{n}.jpg" for c in ("banded", "dotted", "woven") for n in range(PER_CLASS)] for s in "at"}
    for split, file in (("a", "train1"), ("t", "test1")):
        for number, name in enumerate(names[split]):
            picture(root / "dtd/dtd/images" / name, number)
        (root / "dtd/dtd/labels").mkdir(exist_ok=True)
        (root / f"dtd/dtd/labels/{file}.txt").write_text("\n".join(names[split]))


def write_pets(root, monkeypatch):
    folder = root / "oxford-iiit-pet"
    for first, split in ((1, "trainval"), (101, "test")):
        numbers = range(first, first + PER_CLASS)
        ids = [(f"{c}_{n}", i + 1) for i, c in enumerate(("Abyssinian", "beagle", "shiba_inu")) for n in numbers]
        for seed, (name, _) in enumerate(ids):
            picture(folder / f"images/{name}.jpg", seed)
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / f"annotations/{split}.txt").write_text("".join(f"{name} {label} 1 1\n" for name, label in ids))


def write_flowers(root, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    n = 3 * PER_CLASS
    for number in range(1, 3 * n + 1):
        picture(folder / f"jpg/image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.arange(3 * n) % 3 + 1})
    ids = {"trnid": np.arange(1, n + 1), "valid": np.arange(n + 1, 2 * n + 1), "tstid": np.arange(2 * n + 1, 3 * n + 1)}
    savemat(folder / "setid.mat", ids)
    files = {part: (name, md5(folder / name)) for part, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    monkeypatch.setattr(Flowers102, "_file_dict", files)


def write_eurosat(root, monkeypatch):
    for label, name in enumerate(("Forest", "Highway", "River")):
        for number in range(2 * PER_CLASS):
            picture(root / f"eurosat/2750/{name}/{name}_{number + 1}.jpg", 100 * label + number)


def write_caltech(root, monkeypatch):
    for label, name in enumerate(("BACKGROUND_Google", "accordion", "ant", "yin_yang")):
        for number in range(2 * PER_CLASS):
            picture(root / f"caltech101/101_ObjectCategories/{name}/image_{number + 1:04d}.jpg", 100 * label + number)


def write_sun(root, monkeypatch):
    names = ("/a/abbey", "/a/apartment_building/outdoor", "/z/zoo")
    for label, name in enumerate(names):
        for number in range(2 * PER_CLASS):
            picture(root / f"SUN397{name}/sun_{'abc'[label]}{number:03d}.jpg", 100 * label + number)
    (root / "SUN397/ClassName.txt").write_text("\n".join(names))


def write_clevr(root, monkeypatch):
    folder = root / "clevr/CLEVR_v1.0"
    for split in ("train", "val", "test"):
        names = [f"CLEVR_{split}_{number:06d}.png" for number in range(3 * PER_CLASS)]
        for number, name in enumerate(names):
            picture(folder / "images" / split / name, number)
        scenes = [{"image_filename": name, "objects": [{}] * (3 + number % 8)} for number, name in enumerate(names)]
        (folder / "scenes").mkdir(exist_ok=True)
        if split != "test":
            (folder / f"scenes/CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def write_cifar(root, monkeypatch):
    from torchvision.datasets import CIFAR100

    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6 * PER_CLASS, 3072), dtype=np.uint8)
    half = 3 * PER_CLASS
    for name, part in (("train", pixels[:half]), ("test", pixels[half:])):
        (folder / name).write_bytes(pickle.dumps({"data": part, "fine_labels": [i % 3 for i in range(half)]}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear", "cloud"]}))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(folder / "meta")})


def write_svhn(root, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    root.mkdir(parents=True)
    known = {}
    for seed, split in enumerate(("train", "test")):
        file = root / f"{split}_32x32.mat"
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, 3 * PER_CLASS), dtype=np.uint8)
        # The files call the digit 0 by the label 10.
        savemat(
            file, {"X": pixels, "y": np.array([[10, 1, 2][i % 3] for i in range(3 * PER_CLASS)], np.uint8)[:, None]}
        )
        known[split] = ["", file.name, md5(file)]
    monkeypatch.setattr(SVHN, "split_list", known)


def write_pcam(root, monkeypatch):
    h5py = pytest.importorskip("h5py")
    (root / "pcam").mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        pixels = np.random.default_rng(seed).integers(0, 256, (3 * PER_CLASS, 96, 96, 3), dtype=np.uint8)
        labels = (np.arange(3 * PER_CLASS) % 2).reshape(-1, 1, 1, 1)
        for kind, values in (("x", pixels), ("y", labels)):
            with h5py.File(root / f"pcam/camelyonpatch_level_2_split_{split}_{kind}.h5", "w") as file:
                file[kind] = values


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


WRITERS = {
    "caltech101": write_caltech,
    "cifar100": write_cifar,
    "dtd": write_dtd,
    "oxford_flowers102": write_flowers,
    "oxford_iiit_pet": write_pets,
    "svhn": write_svhn,
    "sun397": write_sun,
    "patch_camelyon": write_pcam,
    "eurosat": write_eurosat,
    "clevr_count": write_clevr,
}


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
    in_arrays = TASKS[name].torchvision.files is None
    assert {d.root is None for d in datasets} == {in_arrays}
    # Labels are torchvision's own: looked up in the loader, image by image.
    how = TASKS[name].torchvision
    import torchvision

    for data in datasets:
        arguments = how.test if data.name.endswith("/test") and how.test is not None else how.train
        root = tmp_path / (f"vtab/{name}/torchvision" if place == "own" else "torchvision")
        loaded = getattr(torchvision.datasets, how.loader)(str(root), download=False, **arguments)
        if in_arrays:
            for sample in data.samples:
                image, label = loaded[int(sample.key.split("/")[1])]
                assert sample.label == label
                assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.data))), np.asarray(image))
        else:
            # The same pixels, the same label, for every image of the loader that was chosen.
            known = {np.asarray(image.convert("RGB")).tobytes(): label for image, label in loaded}
            for sample in data.samples:
                with Image.open(f"{data.root}/{sample.path}") as image:
                    assert known[np.asarray(image.convert("RGB")).tobytes()] == sample.label + how.first_label


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
    with pytest.raises(DatasetError, match="1000 at least, the test split aside\n  found: 44"):
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
    with pytest.raises(DatasetError, match=r"vtab/dtd/test .*wrong classes\n.*in vtab/dtd/train\n.*alone: dotted"):
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


# Nothing there -----------------------------------------------------------------------------------------------
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
