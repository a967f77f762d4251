"""Files as the second study's sources publish them: real ones, and small ones written by tests."""

from __future__ import annotations

import csv
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.label_spaces import imagenet_synsets
from tests.support.runs import add_run


def annotation_files() -> Path:
    """The annotation files of the package imagenet-x, which the user installs."""
    package = importlib.util.find_spec("imagenet_x")
    if package is None or package.origin is None:
        pytest.skip("needs the annotations of the package imagenet-x (pip install --no-deps imagenet-x)")
    return Path(package.origin).parent / "annotations"


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def people(folder, rows, experiment="sketch", subject="subject-01"):
    """A CSV file as model-vs-human writes it."""
    folder.mkdir(exist_ok=True, parents=True)
    columns = ["subj", "Session", "trial", "rt", "object_response", "category", "condition", "imagename"]
    with (folder / f"{experiment}_{subject}_session_1.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, row in enumerate(rows, start=1):
            writer.writerow([subject, 1, number, 0.5, *row])


ANSWERS = [
    ("cat", "cat", "0", "0001_skt_s01_0_cat_00_cat-n02691151_1.png"),
    ("dog", "cat", "0", "0002_skt_s01_0_cat_00_cat-n02691151_2.png"),
    ("na", "dog", "0", "0003_skt_s01_0_dog_00_dog-n02691152_3.png"),
    ("dog", "dog", "0", "0004_skt_s01_0_dog_00_dog-n02691152_4.png"),
]


def validation_run(store, predictions, name="net"):
    """A run over three official validation images of the classes 0, 0, 1."""
    logits = np.zeros((3, 1000), np.float32)
    logits[np.arange(3), predictions] = math.log(999)  # a probability of one half
    synsets = imagenet_synsets()
    samples = tuple(
        Sample(f"{synsets[label]}/ILSVRC2012_val_{number:08d}.JPEG", 1, label)
        for number, label in ((1, 0), (2, 0), (3, 1))
    )
    data = Dataset("imagenet-val", samples, synsets, "imagenet-1k", "/val")
    return add_run(store, logits, [0, 0, 1], name=name, data=data)


def network(folder, name, answers, experiment="cue-conflict"):
    """A CSV file of decisions as model-vs-human's code writes it for a network."""
    folder.mkdir(exist_ok=True, parents=True)
    lines = ["subj,session,trial,rt,object_response,category,condition,imagename"]
    lines += [f"{name},1,{i},NaN,{said},{shape},NaN,{image}" for i, (said, shape, image) in enumerate(answers, start=1)]
    file = folder / f"{experiment}_{name.replace('_', '-')}_session-1.csv"
    file.write_text("\n".join(lines) + "\n")


DECISIONS = [
    ("cat", "cat", "cat1-dog1.png"),
    ("dog", "cat", "cat2-dog1.png"),
    ("bird", "cat", "cat3-dog1.png"),
    ("dog", "dog", "dog1-cat2.png"),
    ("dog", "dog", "dog2-dog3.png"),
]
