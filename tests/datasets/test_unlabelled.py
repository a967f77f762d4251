"""Images without labels: their outputs are kept as those of others, and metrics that need labels are absent."""

from __future__ import annotations

import json
import tarfile
from typing import Any

import numpy as np
import pytest

from qubastore.analysis.agreement import agreement, classes, factors
from qubastore.analysis.pairs import Pair
from qubastore.datasets.locating import own_datasets, parse_dataset
from qubastore.errors import DatasetError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.planning.configuration import read_configuration
from qubastore.maintenance.doctor import examine
from qubastore.runs.image_sets import image_set
from qubastore.runs.replicates import standard_rows
from tests.datasets.test_parquet import pictures, write_parquet
from tests.datasets.test_tars_and_manifests import add
from tests.support.runs import both_runs

LIMITS: Any = {"num_gpus": 0, "num_cpus": 2}


def test_folders_of_any_structure_are_read(images, tmp_path):
    (flat,) = parse_dataset(f"new={images / 'ant'},labels=none")
    assert (flat.label_space, flat.classes, len(flat.samples)) == ("unlabelled", (), 60)
    assert {sample.labels for sample in flat.samples} == {()}
    (deep,) = parse_dataset(f"new={images},labels=none")
    assert [sample.key for sample in deep.samples][:2] == ["ant/000.png", "ant/001.png"]
    assert deep.dataset_id != own_datasets("new", images)[0].dataset_id
    with pytest.raises(DatasetError, match=r"has no class folders(?s:.*)labels=none"):
        own_datasets("new", images / "ant")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images in"):
        own_datasets("new", tmp_path / "empty", labels="none")


def test_tars_tables_and_manifests_are_read(images, tmp_path):
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "0.tar", "w") as archive:
        for file in sorted(images.glob("bee/*.png")):
            archive.add(file, file.name)
    (packed,) = own_datasets("new", tmp_path / "tars", labels="none")
    assert (len(packed.samples), packed.samples[0].key, packed.samples[0].label) == (50, "000.png", None)
    assert packed.dataset_id == own_datasets("new", images / "bee", labels="none")[0].dataset_id
    write_parquet(tmp_path / "tables" / "0.parquet", pictures("ab"), None)
    assert len(own_datasets("new", tmp_path / "tables", labels="none")[0].samples) == 6
    (images / "list.csv").write_text("path,light\nant/000.png,day\nbee/001.png,night\n")
    (named,) = own_datasets("new", images / "list.csv")
    assert (named.label_space, [dict(s.factors) for s in named.samples]) == (
        "unlabelled",
        [{"light": "day"}, {"light": "night"}],
    )


def test_pictures_beside_tables_and_tars_are_not_the_dataset(tmp_path):
    thumbnail = pictures("a", 1)[0][2]
    write_parquet(tmp_path / "tables" / "0.parquet", pictures("ab"), None)
    (tmp_path / "tars").mkdir()
    for tar in ("a", "b"):
        with tarfile.open(tmp_path / "tars" / f"{tar}.tar", "w") as archive:
            add(archive, "0.png", thumbnail)
    for folder in ("tables", "tars"):
        (tmp_path / folder / "thumbnail.png").write_bytes(thumbnail)
    assert len(own_datasets("new", tmp_path / "tables", labels="none")[0].samples) == 6
    # Files that are numbered anew in each tar are called after it, too.
    keys = [sample.key for sample in own_datasets("new", tmp_path / "tars", labels="none")[0].samples]
    assert keys == ["a/0.png", "b/0.png"]


def test_files_that_are_left_out_are_told(images):
    (images / "ant" / "no_ending").write_bytes((images / "ant" / "000.png").read_bytes())
    (data,) = own_datasets("new", images, labels="none")
    assert ["no_ending" in note for note in data.notes] == [True]


def test_a_manifest_says_that_it_has_no_labels(images):
    (images / "list.csv").write_text("path,class\nant/000.png,ant\nbee/001.png,bee\n")
    (data,) = own_datasets("new", images / "list.csv")
    assert "has no column 'label' (path, class)" in data.notes[0]
    assert own_datasets("new", images / "list.csv", labels="none")[0].notes == ()
    (images / "list.csv").write_text("path,label\nant/000.png,ant\nbee/001.png,bee\n")
    (data,) = own_datasets("new", images / "list.csv", labels="none")
    assert (data.label_space, data.notes, [dict(s.factors) for s in data.samples]) == ("unlabelled", (), [{}, {}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,split\nant/000.png,train\n", "has splits, and no labels to fit a probe on"),
        ("path,Label\nant/000.png,ant\n", "did you mean Label"),
    ],
)
def test_manifests_that_need_labels(images, text, said):
    (images / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        own_datasets("new", images / "list.csv")


def test_an_option_without_a_meaning_is_refused(images):
    with pytest.raises(UsageError, match="labels"):
        own_datasets("new", images, labels="some")
    with pytest.raises(UsageError, match="labels= is only for"):
        own_datasets("new", images, "splits", labels="none")
    with pytest.raises(UsageError, match="labels= is only for"):
        own_datasets("imagenet-val", images, labels="none")
    with pytest.raises(UsageError, match="order= is only for"):
        own_datasets("new", images, labels="none", order="natural")
    (images / "list.csv").write_text("path\nant/000.png\n")
    with pytest.raises(UsageError, match="no classes to order"):
        own_datasets("new", images / "list.csv", order="natural")


def test_outputs_are_those_of_labelled_images(store, images, tmp_path, tiny_models, ray_session):
    """Every column but those of labels has the same bits; nothing of a metric that needs labels is there."""
    models = [f"python:{tiny_models}:{name}" for name in ("first", "second")]
    (new,), (old,) = own_datasets("new", images, labels="none"), own_datasets("old", images)
    keep = ("outputs", "logits", "features")
    report = ingest(store, models, [new, old], conditions=["clean", "scale(0.9)"], keep=keep, **LIMITS)
    assert (report.images, report.errors) == (1200, [])
    columns = "model, condition, sample_id, prediction, confidence, logsumexp, sum_squared_probability, top5_logit"
    query = f"select {columns} from outputs join named_runs using (run_id) where dataset = ? order by all"
    assert store.rows(query, ["new"]) == store.rows(query, ["old"])
    without = "label is null and label_probability is null and label_logit is null"
    query = f"select count(*), count(*) filter (where {without}) from outputs join named_runs using (run_id)"
    assert store.rows(f"{query} where dataset = 'new'") == [(600, 600)]
    for kind in ("logits", "features"):
        query = f"select model, condition, sample_id, values from {kind} join named_runs using (run_id)"
        rows = [store.rows(f"{query} where dataset = '{name}' order by 1, 2, 3") for name in ("new", "old")]
        assert rows[0] == rows[1]
    # Whatever is known of a run is known of every other one, so that only what needs no labels may be.
    known = "select metric, count(*) from run_metrics join named_runs using (run_id) where value is not null"
    assert store.rows(f"{known} and dataset = 'new' group by all") == []
    assert store.rows("select distinct dataset from metric_values where dataset is not null") == [("old",)]
    assert store.rows("select distinct dataset from class_accuracy") == [("old",)]
    # How two models, or two conditions, agree needs none.
    query = (
        "select n, both_right, only_a, only_b, both_wrong, same_answer from agreement where dataset = ? order by all"
    )
    unlabelled, labelled = store.rows(query, ["new"]), store.rows(query, ["old"])
    assert [row[1:5] for row in unlabelled] == [(None,) * 4] * 2
    assert [(row[0], row[5]) for row in unlabelled] == [(row[0], row[5]) for row in labelled]
    query = (
        "select consistency, accuracy is null from invariance where dataset = ? and condition <> 'clean' order by all"
    )
    assert [row[0] for row in store.rows(query, ["new"])] == [row[0] for row in store.rows(query, ["old"])]
    assert {row[1] for row in store.rows(query, ["new"])} == {True}
    assert list(examine(store, deep=True)) == []
    assert ingest(store, models, [new], conditions=["clean"], keep=keep, intervals=True, **LIMITS).images == 0
    # Two models: counts of agreement alone; tests are corrected over the rows that have one.
    runs = {
        name: [
            run
            for run, n in store.rows("select run_id, dataset from named_runs order by model, condition")
            if n == name
        ]
        for name in ("new", "old")
    }
    pairs = [Pair("a", "b", [both_runs(store, mine[0], mine[2])]) for mine in runs.values()]
    both, alone = agreement(store, pairs), agreement(store, pairs[1:])
    by_dataset = [dict(zip(both.columns, row, strict=True)) for row in both.rows]
    assert [row["dataset"] for row in by_dataset] == ["new", "old"]
    assert {name for name, value in by_dataset[0].items() if value is None} == {
        *("accuracy_a", "accuracy_b", "only_a", "only_b", "error_consistency", "p_value", "p_holm")
    }
    assert by_dataset[0]["same_answer"] == by_dataset[1]["same_answer"]
    assert both.rows[1:] == alone.rows
    assert classes(store, pairs[:1]).rows == factors(store, pairs[:1]).rows == []
    rows = store.arrow("from outputs where run_id = ? order by sample_id", [runs["new"][0]])
    ((dataset_id,),) = store.rows("select dataset_id from datasets where name = 'new'")
    assert standard_rows(runs["new"][0], image_set(store, dataset_id), rows, None) == []


def test_a_model_of_any_head_is_run_and_a_backbone_too(store, images, tmp_path, ray_session):
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "CONFIG = {'input_size': (3, 8, 8), 'mean': (0.5,) * 3, 'std': (0.5,) * 3}\n"
        "def wide():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 7)), CONFIG\n"
        "def body():\n"
        "    return torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten()), CONFIG\n"
    )
    models = [f"python:{tmp_path / 'nets.py'}:wide", f"python:{tmp_path / 'nets.py'}:body,output_type=features"]
    (new,) = own_datasets("new", images, labels="none")
    assert ingest(store, models, [new], **LIMITS).errors == []
    query = "select max(prediction), count(prediction), count(*) from outputs join named_runs using (run_id)"
    ((largest, n, _),) = store.rows(f"{query} where model like '%wide'")
    assert n == 150
    assert largest > 2
    assert store.rows(f"{query} where model like '%body%'") == [(None, 0, 150)]
    assert store.rows("select count(*), len(any_value(values)) from features") == [(150, 12)]
    assert list(examine(store, deep=True)) == []


@pytest.mark.parametrize("condition", ["fgsm", "pgd"])
def test_attacks_need_labels(store, images, tiny_models, condition):
    (new,) = own_datasets("new", images, labels="none")
    with pytest.raises(UsageError, match="has none"):
        ingest(store, [f"python:{tiny_models}:first"], [new], conditions=[condition], **LIMITS)


def test_commands_that_need_labels_say_so(store, images, tiny_models, ray_session):
    from qubastore.analysis.differences import named_pair, of_runs
    from qubastore.derived.temperature import calibrate

    models = [f"python:{tiny_models}:{name}" for name in ("first", "second")]
    (new,) = own_datasets("new", images, labels="none")
    ingest(store, models, [new], **LIMITS)
    (model, _), *_ = found = store.rows("select model, run_id from named_runs order by all")
    with pytest.raises(UsageError, match="no labels"):
        calibrate(store, model, fit_on="new")
    runs = [run_id for _, run_id in found]
    pair = named_pair(store, *runs)
    assert pair is not None
    with pytest.raises(UsageError, match="no labels"):
        of_runs(store, *pair)


def test_suites_name_them(tmp_path, images):
    (tmp_path / "suite.toml").write_text(
        'models = ["timm:resnet18"]\n[datasets]\nnew = { path = "images", labels = "none" }\n'
    )
    found = read_configuration(str(tmp_path / "suite.toml"))
    assert found.datasets[0].label_space == "unlabelled"


def test_hand_worked_columns():
    """Two logits, 0 and ln 3: probabilities 1/4 and 3/4."""
    from qubastore.datasets.label_spaces import UNLABELLED, label_space
    from qubastore.statistics.scores import label_matrix, output_columns

    labels = label_matrix([(), ()])
    assert labels.shape == (2, 0)
    found = output_columns(np.array([[0, np.log(3)]] * 2, np.float32), labels, label_space(UNLABELLED))
    assert sorted(found) == sorted(
        ["prediction", "confidence", "logsumexp", "sum_squared_probability", "top5_class", "top5_logit"]
    )
    assert found["prediction"].tolist() == [1, 1]
    assert found["confidence"] == pytest.approx([0.75] * 2)
    assert found["logsumexp"] == pytest.approx([np.log(4)] * 2)
    assert found["sum_squared_probability"] == pytest.approx([0.625] * 2)
    assert json.dumps(found["top5_class"].tolist()) == "[[1, 0], [1, 0]]"
