"""Miniature sets of VTAB's tasks: lists, class folders, and the files that torchvision's loaders look for.

Each of `WRITERS` makes the files of one loader, `PER_CLASS` images of each of three classes a split.
"""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
from PIL import Image

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
