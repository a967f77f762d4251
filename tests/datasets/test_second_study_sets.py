"""The second study's image sets in their authors' layouts, and one run over all of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from qubastore.datasets.catalogue import PUG_SETS
from qubastore.datasets.label_spaces import imagenet_synsets, label_space
from qubastore.datasets.locating import locate, own_datasets
from qubastore.datasets.readers import PUG_FILE
from qubastore.errors import DatasetError
from qubastore.evaluators import ingest
from qubastore.evaluators.planning.find_datasets import find_datasets, find_suite
from qubastore.metrics.suites import BEYOND_IMAGENET
from qubastore.statistics.scores import output_columns
from tests.support import data_root
from tests.support.vtab_files import write_lists

NET = """
import torch
from torch import nn

CONFIG = {"input_size": (3, 16, 16), "crop_pct": 0.875, "interpolation": "bilinear", "mean": (0.5,) * 3,
          "std": (0.5,) * 3}


def thousand():
    torch.manual_seed(3)
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(body, nn.Linear(24, 1000)), CONFIG
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = data_root.make(tmp_path_factory.mktemp("root"))
    write_lists(made / "vtab" / "dtd", 47)
    return made


@pytest.fixture
def own_root(root, tmp_path):
    """A copy to break."""
    shutil.copytree(root / "PUG_ImageNet", tmp_path / "root" / "PUG_ImageNet")
    return tmp_path / "root"


def test_numbered_folders_are_imagenets_classes(root):
    """ImageNet-V2's folder 404 is airliner, n02690373; the key is that of synset folders."""
    data = locate("imagenet-v2/top-images", root)
    assert [(s.key, s.label, s.path) for s in data.samples] == [
        ("n01443537/0a1b.jpeg", 1, "1/0a1b.jpeg"),
        ("n01514668/0a1b.jpeg", 7, "7/0a1b.jpeg"),
        ("n02690373/0a1b.jpeg", 404, "404/0a1b.jpeg"),
    ]
    assert [each.name for each in find_datasets("imagenet-v2", root)] == [
        "imagenet-v2/matched-frequency",
        "imagenet-v2/threshold-0.7",
        "imagenet-v2/top-images",
    ]


def test_imagenet_hard_has_several_right_classes(root):
    data = locate("imagenet-hard", root)
    assert [s.labels for s in data.samples] == [(1,), (7, 1, 404), (404, 7)]
    assert data.samples[1].key == f"{imagenet_synsets()[7]}/00000002"


def test_pug_says_the_value_of_the_factor_that_a_set_varies(root):
    for folder, column in PUG_SETS.items():
        data = locate(f"pug/{folder.lower()}", root)
        assert [dict(s.factors) for s in data.samples] == [{column: f"{column}-{i % 2}"} for i in range(3)]
    assert [data.classes[s.labels[0]] for s in data.samples] == ["Cat", "Frog", "Goldfish"]
    assert len(find_datasets(f"pug={root / 'PUG_ImageNet'}")) == 10


@pytest.mark.parametrize("form", ["{folder}/{key}", "{key}", "{name}"])
def test_pug_annotations_may_name_files_in_full_or_not(own_root, form):
    file = own_root / "PUG_ImageNet" / PUG_FILE
    header, *rows = file.read_text().splitlines()
    changed = []
    for row in rows:
        path, _, rest = row.partition(",")
        folder, key = path.split("/", 1)
        changed.append(form.format(folder=folder, key=key, name=key.rpartition("/")[2]) + f",{rest}")
    before = locate("pug/worlds", own_root)
    file.write_text("\n".join([header, *changed]))
    assert [s.factors for s in locate("pug/worlds", own_root).samples] == [s.factors for s in before.samples]


def test_pug_without_annotations_or_with_others(own_root):
    file = own_root / "PUG_ImageNet" / PUG_FILE
    before = locate("pug/worlds", own_root).dataset_id
    text = file.read_text()
    # The values are part of what the dataset is.
    file.write_text(text.replace("world_name-1", "world_name-7"))
    assert locate("pug/worlds", own_root).dataset_id != before
    file.write_text("\n".join(line for line in text.splitlines() if "Worlds/Frog" not in line))
    with pytest.raises(DatasetError, match=r"does not list Frog/Worlds_1\.png"):
        locate("pug/worlds", own_root)
    file.write_text(text.replace("world_name", "world"))
    with pytest.raises(Exception, match="has no column 'world_name'"):
        locate("pug/worlds", own_root)
    file.unlink()
    with pytest.raises(DatasetError, match="does not exist"):
        locate("pug/worlds", own_root)


def test_pug_decides_by_the_class_that_the_largest_output_belongs_to():
    """A tench belongs to none of PUG's classes; goldfish, 1, is one; a sweatshirt, 841, counts for Sweatshirt."""
    space = label_space("pug")
    logits = np.zeros((3, 1000), np.float32)
    logits[[0, 1, 2], [0, 1, 841]] = 5
    columns = output_columns(logits, np.zeros(3, np.int32), space)
    names = [space.classes[label] if label >= 0 else None for label in columns["prediction"]]
    assert names == [None, "Goldfish", "Sweatshirt"]
    assert columns["label_probability"].max() < 0.1
    # Shirt stands for 841 too, and has no class of its own: its probability is zero, not an error.
    shirt = np.full(3, space.classes.index("Shirt"), np.int32)
    assert output_columns(logits, shirt, space)["label_probability"].tolist() == [0, 0, 0]


def test_what_the_suite_asks_for_is_found(root):
    found, missing = find_suite(BEYOND_IMAGENET.datasets, [], root)
    assert {name.rpartition("/")[0] for name, _ in missing} == {
        name.rpartition("/")[0] for name in BEYOND_IMAGENET.datasets if name.startswith("vtab/") and "dtd" not in name
    }
    assert [data.name for data in found if data.name.startswith("vtab/")] == [
        "vtab/dtd/train",
        "vtab/dtd/val",
        "vtab/dtd/test",
    ]
    assert len(found) + len(missing) == len(BEYOND_IMAGENET.datasets)


def test_one_run_over_all_of_it_answers_every_question(root, store, tmp_path, ray_session):
    """Every dataset but ImageNet-C's cells; the transformations of imagenet-val; several right labels; features."""
    (tmp_path / "net.py").write_text(NET)
    for data in (root / "vtab/dtd", root / "PUG_ImageNet"):
        assert data.is_dir()
    names = [name for name in BEYOND_IMAGENET.datasets if not name.startswith("imagenet-c/")]
    found, _ = find_suite(names, [], root)
    report = ingest(
        store,
        [f"python:{tmp_path}/net.py:thousand"],
        found,
        suite=BEYOND_IMAGENET_BUT_CELLS,
        conditions=None,
        num_cpus=1,
    )
    assert report.errors == []
    assert len(report.completed) == len(found) + 13
    runs = dict(store.rows("select dataset, count(*) from run_details where complete group by dataset"))
    assert runs["imagenet-val"] == 14
    assert store.rows("select count(distinct condition) from run_details where dataset = 'imagenet-val'") == [(14,)]
    # ImageNet-Hard: right where the prediction is any of the labels.
    (hard,) = store.rows("select run_id, accuracy from accuracy where dataset = 'imagenet-hard'")
    labels = [{1}, {7, 1, 404}, {404, 7}]
    predictions = store.outputs(hard[0])["prediction"].to_list()
    assert hard[1] == np.mean([p in right for p, right in zip(predictions, labels, strict=True)])
    assert store.rows(
        "select count(*) from factor_accuracy where dataset like 'pug/%' and factor in (select unnest(?))",
        [list(PUG_SETS.values())],
    ) == [(20,)]
    assert store.rows("select count(*) from features join run_details using (run_id) where dataset like 'vtab/%'") == [
        (store.rows("select sum(n_samples)::bigint from datasets where name like 'vtab/%'")[0][0],)
    ]
    assert store.rows("select count(*) from invariance where transformation = 'shift'") == [(5,)]


BEYOND_IMAGENET_BUT_CELLS = type(BEYOND_IMAGENET)(
    BEYOND_IMAGENET.name,
    tuple(
        role
        for role in BEYOND_IMAGENET.roles
        if not role.dataset.startswith("imagenet-c/")
        and (not role.dataset.startswith("vtab/") or "dtd" in role.dataset)
    ),
)


def test_own_datasets_of_pug_by_path(root):
    assert [data.name for data in own_datasets("pug", root / "PUG_ImageNet")] == [
        f"pug/{folder.lower()}" for folder in PUG_SETS
    ]
