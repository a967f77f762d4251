"""The second study's imports and views: known answers, hand-worked rows, independent implementations, bad files."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qubastore
from qubastore.cli.main import cli
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.label_spaces import imagenet_synsets, real_labels
from qubastore.derived.temperature import calibrate
from qubastore.errors import ImportDataError
from qubastore.importers.imagenet_x import FACTORS, METACLASSES, import_imagenet_x
from qubastore.importers.people import EXPERIMENTS, image_id, import_human
from qubastore.importers.predictions import import_predictions, import_real_labels
from qubastore.metrics.suites import BEYOND_IMAGENET, VTAB_TASKS
from qubastore.models.zoo import expand_models, in_group
from qubastore.statistics.scores import label_matrix, output_columns
from tests.conftest import shared
from tests.support.runs import add_run


def annotations() -> Path:
    """The annotation files of the package imagenet-x, which the user installs."""
    package = importlib.util.find_spec("imagenet_x")
    if package is None or package.origin is None:
        pytest.skip("needs the annotations of the package imagenet-x (pip install --no-deps imagenet-x)")
    return Path(package.origin).parent / "annotations"


@pytest.fixture(scope="module")
def known(empty_store, tmp_path_factory):
    """ResNet50's and ViT's predictions, ImageNet-X, and the five people, imported as the docs show it."""
    path = tmp_path_factory.mktemp("known") / "store"
    labels = annotations() / "filename_label.csv"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as store:
        for model in ("ResNet50", "ViT"):
            file = shared("data", "predictions", f"{model}.csv")
            import_predictions(store, file, model=model, dataset="imagenet-val", labels=labels)
        import_imagenet_x(store)
        import_human(store, shared("data", "human"))
        yield store


def test_the_page_shows_what_the_commands_print(tmp_path):
    """docs/second-study.md: every command of its console blocks, in order, on the real inputs."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "second-study.md").read_text("utf-8")
    (tmp_path / "filename_label.csv").symlink_to(annotations() / "filename_label.csv")
    (tmp_path / "human").symlink_to(shared("data", "human"))
    for model in ("ResNet50", "ViT"):
        (tmp_path / f"{model}.csv").symlink_to(shared("data", "predictions", f"{model}.csv"))
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    environment = {**os.environ, "COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("QUBASTORE_STORE", None)
    shown = [part.split("\n", 1) for block in blocks for part in block.split("$ ")[1:]]
    assert len(shown) > 8
    for command, output in shown:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        printed = "".join(f"{line.rstrip()}\n" for line in (done.stderr + done.stdout).splitlines())
        assert printed.strip() == output.strip(), command


@pytest.mark.parametrize(("model", "accuracy"), [("ResNet50", 0.829579), ("ViT", 0.839870)])
def test_known_real_accuracy(known, model, accuracy):
    query = "select n, accuracy from label_set_accuracy where label_set = 'real' and model = ?"
    assert known.rows(query, [model]) == [(46_837, pytest.approx(accuracy, abs=5e-7))]


RATIOS = {
    "pose": 0.695,
    "background": 1.142,
    "pattern": 0.771,
    "color": 1.189,
    "smaller": 1.497,
    "shape": 1.744,
    "partial_view": 1.132,
    "subcategory": 2.105,
    "texture": 2.394,
    "larger": 1.316,
    "darker": 1.715,
    "object_blocking": 1.923,
    "person_blocking": 2.171,
    "style": 1.928,
    "brighter": 1.166,
    "multiple_objects": 1.974,
}


def test_known_error_ratios(known):
    """ResNet50's, top factor, prototypes left out: 46,110 images."""
    query = (
        "select factor, round(error_ratio, 3) from imagenet_x_error_ratio"
        " where model = 'ResNet50' and annotation = 'top' and metaclass = 'all'"
    )
    assert dict(known.rows(query)) == RATIOS
    query = "select distinct n from imagenet_x_accuracy where metaclass = 'all' and factor = 'all'"
    assert known.rows(query) == [(46_110,)]


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def published_definitions(kind):
    """ImageNet-X's arithmetic on its files, with plain loops: (metaclass, factor) -> accuracy, n for ResNet50."""
    folder = annotations()
    names = [row["name"] for row in rows_of(folder / "imagenet_1k_classes_to_100_metaclasses.csv")]
    prototypes = {row["file_name"] for row in rows_of(folder / "prototypical_paths.csv")}
    predictions = {
        row["file_name"]: int(row["predicted_class"]) for row in rows_of(shared("data", "predictions", "ResNet50.csv"))
    }
    hits: dict[tuple[str, str], list[bool]] = {}
    for line in (folder / f"imagenet_x_val_{kind}_factor.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file_name"] in prototypes:
            continue
        right = predictions[entry["file_name"]] == entry["class"]
        metaclass = names[entry["class"]] if names[entry["class"]] in METACLASSES else "other"
        for factor in ("all", *(f for f in FACTORS if entry[f])):
            for group in ("all", metaclass):
                hits.setdefault((group, factor), []).append(right)
    return {key: (np.mean(values), len(values)) for key, values in hits.items()}


@pytest.mark.parametrize("kind", ["top", "multi"])
def test_imagenet_x_accuracies_are_those_of_its_definitions(known, kind):
    from scipy.stats import binomtest

    want = published_definitions(kind)
    rows = known.rows(
        "select metaclass, factor, accuracy, n, low, high from imagenet_x_accuracy"
        " where model = 'ResNet50' and annotation = ?",
        [kind],
    )
    assert len(rows) == len(want) > 200
    for metaclass, factor, accuracy, n, low, high in rows:
        assert (accuracy, n) == (pytest.approx(want[metaclass, factor][0], abs=1e-12), want[metaclass, factor][1])
        interval = binomtest(round(accuracy * n), n).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    ratios = known.rows(
        "select metaclass, factor, error_ratio, low, high from imagenet_x_error_ratio"
        " where model = 'ResNet50' and annotation = ?",
        [kind],
    )
    assert {row[0] for row in ratios} == {"all", "other", *METACLASSES}
    for metaclass, factor, ratio, low, high in ratios:
        overall = 1 - want[metaclass, "all"][0]
        assert ratio == (pytest.approx((1 - want[metaclass, factor][0]) / overall, abs=1e-9) if overall else None)
        assert ratio is None or low <= ratio <= high


@pytest.mark.parametrize(
    ("subject", "bias"), [("01", 0.96172), ("02", 0.94381), ("03", 0.96731), ("04", 0.91909), ("05", 0.96398)]
)
def test_known_shape_bias_of_people(known, subject, bias):
    query = "select round(shape_bias, 5), observer from shape_bias where model = ?"
    assert known.rows(query, [f"subject-{subject}"]) == [(bias, "person")]


def trials(subject):
    (file,) = shared("data", "human").glob(f"*_subject-{subject}_*.csv")
    return rows_of(file)


def test_people_in_every_view_are_those_of_their_files(known):
    """Accuracy, shape bias per category, and their mean, from the CSV files by hand."""
    answers = {subject: trials(subject) for subject in ("01", "02", "03", "04", "05")}
    accuracies = dict(known.rows("select subject, accuracy from human_accuracy where experiment = 'cue-conflict'"))
    biases = dict(
        known.rows("select model || category, shape_bias from shape_bias_by_category where observer = 'person'")
    )
    means = []
    for subject, rows in answers.items():
        right = [row["object_response"] == row["category"] for row in rows]
        assert accuracies[f"subject-{subject}"] == pytest.approx(np.mean(right), abs=1e-12)
        counts: dict[str, list[int]] = {}
        for row in rows:
            texture = "".join(c for c in Path(row["imagename"]).stem.split("-")[-1] if not c.isdigit())
            if texture != row["category"]:
                shape, total = counts.setdefault(row["category"], [0, 0])
                hit = row["object_response"]
                counts[row["category"]] = [
                    shape + (hit == row["category"]),
                    total + (hit in (texture, row["category"])),
                ]
        for category, (shape, total) in counts.items():
            assert biases[f"subject-{subject}{category}"] == pytest.approx(shape / total, abs=1e-12)
        means.append(sum(s for s, _ in counts.values()) / sum(t for _, t in counts.values()))
    (row,) = known.rows("select shape_bias, n_outputs from shape_bias where observer = 'people'")
    assert row == (pytest.approx(np.mean(means), abs=1e-12), 6400)


def test_error_consistency_of_people_is_cohens_kappa(known):
    """scikit-learn's kappa of being right, over images both saw, for every pair of people."""
    from sklearn.metrics import cohen_kappa_score

    right = {
        f"subject-{subject}": {image_id(r["imagename"]): r["object_response"] == r["category"] for r in trials(subject)}
        for subject in ("01", "02", "03", "04", "05")
    }
    rows = known.rows(
        "select model_a, model_b, n, error_consistency from error_consistency where dataset = 'cue-conflict'"
    )
    assert len(rows) == 10
    for a, b, n, kappa in rows:
        common = sorted(set(right[a]) & set(right[b]))
        assert n == len(common)
        want = cohen_kappa_score([right[a][i] for i in common], [right[b][i] for i in common])
        assert kappa == pytest.approx(want, abs=1e-12)


def test_error_consistency_of_models(known):
    from sklearn.metrics import cohen_kappa_score

    right = []
    for model in ("ResNet50", "ViT"):
        run = known.rows("select run_id from run_details where model = ?", [model])[0][0]
        right.append((known.outputs(run)["prediction"] == known.outputs(run)["label"]).to_numpy())
    (row,) = known.rows("select n, error_consistency from error_consistency where model_a = 'ResNet50'")
    assert row == (50_000, pytest.approx(cohen_kappa_score(*right), abs=1e-12))


def test_calibration_views_of_the_known_predictions(known):
    """ECE, MCE, RMS, over- and underconfidence of ResNet50 from 15 bins (lo, hi], one by one, in float64."""
    run = known.rows("select run_id from run_details where model = 'ResNet50'")[0][0]
    frame = known.outputs(run)
    confidence, right = frame["confidence"].to_numpy(), (frame["prediction"] == frame["label"]).to_numpy()
    gaps, shares = [], []
    for low, high in itertools.pairwise(np.linspace(0, 1, 16)):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gaps.append(right[inside].mean() - confidence[inside].mean())
            shares.append(inside.mean())
    gaps, shares = np.array(gaps), np.array(shares)
    want = (
        (shares * abs(gaps)).sum(),
        abs(gaps).max(),
        np.sqrt((shares * gaps**2).sum()),
        (shares * np.maximum(-gaps, 0)).sum(),
        (shares * np.maximum(gaps, 0)).sum(),
    )
    columns = "ece, mce, rms_calibration_error, overconfidence, underconfidence"
    row = known.rows(f"select {columns} from calibration where run_id = ?", [run])[0]
    assert row == pytest.approx(want, abs=1e-9)
    assert round(row[0], 6) == 0.037308
    assert known.rows("select count(*), sum(n) from confidence_histogram where run_id = ?", [run]) == [(15, 50_000)]


# What models and people share: images by their own part of the name, level by level.
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


def test_models_meet_people_over_the_same_images(store, tmp_path):
    """The person is right on 1 and 4, the network on 1, 2 and 4: both 2, network alone 1, person alone 0, none 1.
    Observed 3/4, expected 3/4 * 1/2 + 1/4 * 1/2 = 1/2, kappa (3/4 - 1/2) / (1/2) = 1/2."""
    people(tmp_path, ANSWERS)
    import_human(store, tmp_path)
    names = [f"{row[1]}/000{i}_skt_dnn_0_{row[3][15:]}" for i, row in enumerate(ANSWERS, start=1)]
    data = Dataset(
        "sketch", tuple(Sample(n, 1, int(n.startswith("dog"))) for n in names), ("cat", "dog"), "own-classes", "/s"
    )
    add_run(store, [[1, 0], [1, 0], [1, 0], [0, 1]], [0, 0, 1, 1], data=data)
    assert store.rows(
        "select dataset, level, model_a, observer_a, model_b, observer_b, n, both_right, only_a, only_b, both_wrong,"
        " same_answer from agreement"
    ) == [("sketch", "0", "net", "model", "subject-01", "person", 4, 2, 1, 0, 1, 2)]
    assert store.rows(
        "select observed_consistency, expected_consistency, error_consistency from error_consistency"
    ) == [(0.75, 0.5, 0.5)]
    assert store.rows("select n, n_unanswered, accuracy, response_seconds from human_accuracy") == [(4, 1, 0.5, 0.5)]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("0000_cl_s01_bw_boat_40_n02951358_5952.JPEG", "n02951358_5952.JPEG"),
        ("0001_s5n_s01_0_bird_00_bird3-bird2.png", "bird3-bird2.png"),
        ("airplane1-bicycle2.png", "airplane1-bicycle2.png"),
        ("0001_skt_s01_0_cat_00_cat-n02691151_1.png", "1.png"),
    ],
)
def test_the_images_own_part_of_a_name(name, own, store):
    """As model-vs-human has it; the view takes the same part of a key."""
    assert image_id(name) == own
    query = "select regexp_extract('boat/' || ?, '(?:^|[_/])(n0[^_/]*_[^_/]+|[^_/]+)$', 1)"
    assert store.rows(query, [name]) == [(own,)]


def test_there_are_17_experiments():
    assert len(set(EXPERIMENTS)) == 17


BAD = [
    (lambda r: r.__setitem__(1, ("owl", *r[1][1:])), "line 3: object_response is 'owl'"),
    (lambda r: r.__setitem__(0, (r[0][0], "lion", *r[0][2:])), "line 2: category is 'lion'"),
]


@pytest.mark.parametrize(("break_", "says"), BAD, ids=["response", "category"])
def test_bad_answers_name_file_and_line(store, tmp_path, break_, says):
    rows = list(ANSWERS)
    break_(rows)
    people(tmp_path, ANSWERS, subject="subject-02")
    people(tmp_path, rows)
    with pytest.raises(ImportDataError, match=says) as caught:
        import_human(store, tmp_path)
    assert "sketch_subject-01_session_1.csv" in str(caught.value)
    assert store.rows("select count(*) from human_trials") == [(0,)]


def test_files_that_are_no_answers(store, tmp_path):
    with pytest.raises(ImportDataError, match="is not there"):
        import_human(store, tmp_path / "none")
    with pytest.raises(ImportDataError, match="holds no answers of people"):
        import_human(store, tmp_path)
    people(tmp_path / "a", ANSWERS, experiment="scetch")
    with pytest.raises(ImportDataError, match="unknown experiment 'scetch'") as caught:
        import_human(store, tmp_path / "a")
    assert "sketch" in str(caught.value)
    people(tmp_path / "b", [(*row[:3], "7.png") for row in ANSWERS], experiment="cue-conflict")
    with pytest.raises(ImportDataError, match="does not say shape and texture"):
        import_human(store, tmp_path / "b")
    people(tmp_path / "c", ANSWERS)
    file = tmp_path / "c" / "sketch_subject-01_session_1.csv"
    text = file.read_text().splitlines()
    file.write_text("\n".join([*text, text[-1]]))
    with pytest.raises(ImportDataError, match="line 6: a second trial 4 of session 1") as caught:
        import_human(store, tmp_path / "c")
    assert "line 5" in str(caught.value)
    file.write_text("\n".join(text).replace("subject-01,1,2", "subject-09,1,2"))
    with pytest.raises(ImportDataError, match="line 3: subj is 'subject-09'"):
        import_human(store, tmp_path / "c")
    file.write_text("subj,trial\n")
    with pytest.raises(ImportDataError, match="has no column 'session'"):
        import_human(store, tmp_path / "c")


def test_people_imported_again_take_the_place_of_what_was_there(store, tmp_path):
    people(tmp_path / "raw" / "sketch", ANSWERS)
    people(tmp_path / "raw" / "sketch", ANSWERS[:3], subject="subject-02")
    (tmp_path / "raw" / "sketch" / "sketch_resnet50_session-1.csv").write_text("subj\nresnet50\n")
    found = import_human(store, tmp_path / "raw")
    assert found.trials == {("sketch", "subject-01"): 4, ("sketch", "subject-02"): 3}
    assert found.others == 1
    import_human(store, tmp_path / "raw")
    assert store.rows("select count(*) from human_trials") == [(7,)]
    # Two people: both right on 1, both wrong on 3, the first wrong on 2 as the second: consistent throughout.
    assert store.rows("select n, error_consistency from error_consistency") == [(3, 1.0)]


# ImageNet-X files that do not fit.
@pytest.fixture
def own_annotations(tmp_path):
    """Files as the package has them, for two images of class 0 and one of class 1; the third is a prototype."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    names = ["fish" if i % 2 else "dog" for i in range(1000)]
    (folder / "imagenet_1k_classes_to_100_metaclasses.csv").write_text(
        "wnid,name,metaclass\n" + "".join(f"n,{name},0\n" for name in names)
    )
    (folder / "prototypical_paths.csv").write_text("file_name\nILSVRC2012_val_00000003.JPEG\n")
    for kind in ("top", "multi"):
        lines = []
        for number, label, factors in ((1, 0, ["pose"]), (2, 0, ["style"]), (3, 1, ["pose"])):
            flags = {factor: int(factor in factors or (kind == "multi" and factor == "color")) for factor in FACTORS}
            lines.append(json.dumps({"file_name": f"ILSVRC2012_val_{number:08d}.JPEG", "class": label, **flags}))
        (folder / f"imagenet_x_val_{kind}_factor.jsonl").write_text("\n".join(lines))
    return folder


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


def test_imagenet_x_by_hand(store, own_annotations):
    """Images 1 (right, pose) and 2 (wrong, style) count, the prototype 3 does not: overall 1/2, so pose has an error
    ratio of 0 / (1/2), style of 1 / (1/2). Wilson for 1 of 1: (1 + z2/2 -+ sqrt(z2 * z2/4)) / (1 + z2) = 1/(1+z2), 1.
    """
    validation_run(store, [0, 7, 7])
    assert import_imagenet_x(store, own_annotations) == {"top": 3, "multi": 3}
    z2 = 1.959963984540054**2
    rows = store.rows(
        "select metaclass, factor, n, accuracy, low, high from imagenet_x_accuracy where annotation = 'top'"
        " order by all"
    )
    low, high = 1 / (1 + z2), z2 / (1 + z2)
    middle = math.sqrt(z2 / 2 * (1 / 4 + z2 / 8))
    both = (
        pytest.approx((1 / 2 + z2 / 4 - middle) / (1 + z2 / 2)),
        pytest.approx((1 / 2 + z2 / 4 + middle) / (1 + z2 / 2)),
    )
    factors = [
        ("all", 2, 0.5, *both),
        ("pose", 1, 1.0, pytest.approx(low), 1.0),
        ("style", 1, 0.0, 0.0, pytest.approx(high)),
    ]
    assert rows == [(group, *row) for group in ("all", "dog") for row in factors]
    query = (
        "select factor, error_ratio from imagenet_x_error_ratio where annotation = ? and metaclass = 'all' order by all"
    )
    assert store.rows(query, ["top"]) == [("pose", 0.0), ("style", 2.0)]
    assert store.rows(query, ["multi"]) == [("color", 1.0), ("pose", 0.0), ("style", 2.0)]


def test_annotations_of_another_dataset_are_refused(store, own_annotations):
    validation_run(store, [0, 7, 7])
    file = own_annotations / "imagenet_x_val_multi_factor.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"class": 1', '"class": 5'))
    with pytest.raises(ImportDataError, match=r"line 3: ILSVRC2012_val_00000003\.JPEG is of class 5") as caught:
        import_imagenet_x(store, own_annotations)
    assert "another dataset" in str(caught.value)
    for bad, says in (
        (text.replace("ILSVRC2012_val_00000002", "n01440764_1"), r"line 2: 'n01440764_1\.JPEG' is no validation image"),
        (text.replace('"style": 1', '"style": 3'), "line 2: style is 3"),
        (text.replace('"pose": 0, ', "", 1), "line 2 is no annotation"),
        (text.replace("00000002", "00000001"), "line 2: a second annotation"),
        (text + "\nnot json", "line 4 is no annotation"),
    ):
        file.write_text(bad)
        with pytest.raises(ImportDataError, match=says):
            import_imagenet_x(store, own_annotations)
    assert store.rows("select count(*) from annotations") == [(0,)]


def test_without_the_package_there_is_a_hint(store, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportDataError, match="imagenet-x is not installed") as caught:
        import_imagenet_x(store)
    assert "qubastore[imagenet-x]" in str(caught.value)


# ReaL.
def test_real_labels_are_timms():
    from timm.data.real_labels import RealLabelsImagenet

    names = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(50_000)]
    theirs = RealLabelsImagenet(names).real_labels
    assert [list(labels) for labels in real_labels()] == [theirs[name] for name in names]


def test_real_labels_come_with_official_images(store):
    """Image 1 has none in ReaL, image 2 has 970 and 795, image 3 has 230 and 231: of two counted, one is right."""
    assert [list(labels) for labels in real_labels()[:3]] == [[], [970, 795], [230, 231]]
    validation_run(store, [0, 795, 7])
    query = "select label_set, n, accuracy from label_set_accuracy"
    assert store.rows(query) == [("real", 2, 0.5)]
    # For datasets from before: the same by hand.
    store.write(lambda c: c.execute("delete from label_sets where label_set = 'real'"))
    assert store.rows(query) == []
    assert import_real_labels(store) == [("imagenet-val", 2)]
    assert store.rows(query) == [("real", 2, 0.5)]
    assert import_real_labels(store) == [("imagenet-val", 2)]
    assert store.rows("select count(*) from label_sets where label_set = 'real'") == [(3,)]


# Several right labels.
def test_one_of_several_right_classes_is_enough():
    """Sample 0: classes 1 and 2 are right, 2 has the larger logit and is predicted. Sample 1: 0 is predicted, 1 or 2
    would be right, 1 has the larger logit. Sample 2 has one label."""
    logits = np.array([[0, 1, 2], [3, 2, 1], [0, 0, 0]], np.float32)
    labels = label_matrix([(1, 2), (2, 1), (1,)])
    assert labels.tolist() == [[1, 2], [2, 1], [1, -1]]
    columns = output_columns(logits, labels)
    assert columns["label"].tolist() == [2, 1, 1]
    assert columns["prediction"].tolist() == [2, 0, 0]
    assert columns["label_logit"].tolist() == [2, 2, 0]
    e = math.exp
    assert columns["label_probability"] == pytest.approx([e(2) / (1 + e(1) + e(2)), e(2) / (e(3) + e(2) + e(1)), 1 / 3])


def test_equal_right_classes_give_the_lowest():
    assert output_columns(np.zeros((1, 4), np.float32), label_matrix([(3, 2)]))["label"].tolist() == [2]


# Effective robustness, and the suite.
def test_effective_robustness_is_scipys_line(store):
    """On logit axes; a model that lies on the line of the others by construction has none."""
    from scipy.stats import linregress

    rights = {"a": (40, 20), "b": (60, 30), "c": (80, 60), "d": (50, 45)}
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 100, ''),"
            " ('t', 'robustness', 'art', 'clean', 'model', 100, '')"
        )
    )
    for name, counts in rights.items():
        for dataset, n in zip(("pets", "art"), counts, strict=True):
            logits = [[1, 0] if i < n else [0, 1] for i in range(100)]
            add_run(store, logits, [0] * 100, name=name, dataset=dataset, classes=["cat", "dog"])

    def logit(share):
        return math.log(share / (1 - share))

    line = linregress([logit(n / 100) for n, _ in rights.values()], [logit(m / 100) for _, m in rights.values()])
    rows = store.rows(
        "select model, accuracy, clean_accuracy, predicted_accuracy, effective_robustness, n_models"
        " from effective_robustness order by model"
    )
    assert len(rows) == 4
    for model, accuracy, clean, predicted, effective, n in rows:
        assert (clean, accuracy) == (rights[model][0] / 100, rights[model][1] / 100)
        want = 1 / (1 + math.exp(-(line.intercept + line.slope * logit(clean))))
        assert predicted == pytest.approx(want, abs=1e-12)
        assert effective == pytest.approx(accuracy - want, abs=1e-12)
        assert n == 4
    # Copies of a model do not draw the line to themselves.
    before = store.rows("select model, effective_robustness from effective_robustness order by model")
    calibrate(store, "c", fit_on="pets")
    after = store.rows("select model, effective_robustness from effective_robustness order by model")
    kept = [row for row in after if row[0] != "c,calibrated=pets"]
    assert [row[0] for row in kept] == [row[0] for row in before]
    assert [row[1] for row in kept] == pytest.approx([row[1] for row in before], abs=1e-12)
    assert len(after) == 5
    # Two models make no line, and right everywhere has no logit.
    store.write(
        lambda c: c.execute(
            "delete from run_metrics where run_id in (select run_id from run_details where model[1] in ('c', 'd'))"
        )
    )
    assert store.rows("select predicted_accuracy, n_models from effective_robustness") == [(None, 2), (None, 2)]


def test_models_on_a_line_have_no_effective_robustness(store):
    """Clean accuracies of 1/4, 1/2 and 3/4 have logits of -ln 3, 0 and ln 3; the same on the other set is a line of
    slope 1 through 0, which predicts each accuracy exactly."""
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('t', 'clean', 'pets', 'clean', 'model', 4, ''),"
            " ('t', 'robustness', 'art', 'clean', 'model', 4, '')"
        )
    )
    for n in (1, 2, 3):
        for dataset in ("pets", "art"):
            logits = [[1, 0] if i < n else [0, 1] for i in range(4)]
            add_run(store, logits, [0] * 4, name=f"net{n}", dataset=dataset, classes=["cat", "dog"])
    rows = store.rows("select model, predicted_accuracy, effective_robustness from effective_robustness order by model")
    assert rows == [(f"net{n}", pytest.approx(n / 4, abs=1e-12), pytest.approx(0, abs=1e-12)) for n in (1, 2, 3)]


def test_invariance_by_hand(store):
    """Unaltered, right on samples 0, 1 and 2 of 4; twice as large, right on 0 and 3. The two predictions are the same
    for sample 0 alone (of two classes, a changed answer is a changed right). With logits of ln 3, each right class has
    3/4 or 1/4."""
    x = math.log(3)
    clean = [[x, 0], [x, 0], [x, 0], [0, x]]
    larger = [[x, 0], [0, x], [0, x], [x, 0]]
    add_run(store, clean, [0] * 4, classes=["cat", "dog"])
    add_run(store, larger, [0] * 4, classes=["cat", "dog"], condition="scale(2)")
    columns = "condition, transformation, amount, accuracy, true_class_probability, consistency, clean_accuracy"
    assert store.rows(f"select {columns}, clean_true_class_probability from invariance order by amount") == [
        ("clean", "scale", 1.0, 0.75, pytest.approx(0.625), 1.0, 0.75, pytest.approx(0.625)),
        ("scale(2)", "scale", 2.0, 0.5, pytest.approx(0.5), 0.25, 0.75, pytest.approx(0.625)),
    ]


def test_the_suite_asks_for_what_the_study_measured():
    roles = {}
    for role in BEYOND_IMAGENET.roles:
        roles.setdefault(role.role, []).append(role)
    assert {role: len(played) for role, played in roles.items()} == {
        "clean": 1,
        "corrupted": 75,
        "robustness": 7,
        "cue_conflict": 1,
        "transformed": 4 + 4 + 5,
        "synthetic": 10,
        "transfer": 3 * 19,
    }
    assert {role.condition for role in roles["transformed"]} >= {"scale(1.25)", "shift(100)", "resolution(640)"}
    from qubastore.datasets.vtab_tasks import TASKS

    assert {f"vtab/{name}": task.n_test for name, task in TASKS.items()} == VTAB_TASKS


@pytest.mark.parametrize("name", ["deit3-base-21k", "convnext-base-21k", "vit-clip", "convnext-clip"])
def test_the_four_models_of_the_study_exist(name):
    import open_clip
    import timm

    ((spec,), left_out) = expand_models([f"zoo:{name}"])
    assert left_out == []
    if spec.loader == "timm":
        assert spec.target in timm.list_pretrained()
    else:
        assert tuple(spec.target.split("/")) in open_clip.list_pretrained()
    assert [entry.name for entry in in_group("beyond-imagenet")].count(name) == 1


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


def test_networks_decisions_stand_beside_people(store, tmp_path):
    """Of four images whose cues differ, two for the shape, one for the texture, one for neither: 2 / 3. The person
    decides for the shape wherever the network does not: both right on dog1 alone, and on dog2, whose cues agree."""
    network(tmp_path / "cue-conflict", "vit_tiny", DECISIONS)
    rows = [("na", "cat", "0", "0001_c_s01_0_cat_00_cat1-dog1.png")]
    rows += [(shape, shape, "0", f"000{i}_c_s01_0_{shape}_00_{image}") for i, (_, shape, image) in enumerate(DECISIONS)]
    people(tmp_path / "cue-conflict", [rows[0], *rows[2:]], experiment="cue-conflict")
    found = import_human(store, tmp_path)
    assert found.networks == {("cue-conflict", "vit_tiny"): 5}
    assert found.trials == {("cue-conflict", "subject-01"): 5}
    assert store.rows("select model, observer, n_outputs, n, shape_bias from shape_bias order by observer") == [
        ("vit_tiny", "network", 5, 4, pytest.approx(2 / 3)),
        ("people", "people", 5, 4, 1.0),
        ("subject-01", "person", 5, 4, 1.0),
    ]
    query = "select model_a, observer_a, model_b, observer_b, n, both_right, only_a, only_b, both_wrong from agreement"
    # cat1: the network alone; cat2 and cat3: the person alone; dog1 and dog2: both.
    assert store.rows(query) == [("vit_tiny", "network", "subject-01", "person", 5, 2, 1, 2, 0)]
    assert store.rows("select distinct subject from human_accuracy") == [("subject-01",)]
    network(tmp_path / "cue-conflict", "vit_tiny", DECISIONS[:2])
    import_human(store, tmp_path)
    assert store.rows("select count(*) from human_trials where subject = 'vit_tiny'") == [(2,)]


def test_a_folder_of_networks_alone(store, tmp_path):
    network(tmp_path, "resnet50", DECISIONS)
    (tmp_path / "mae.csv").write_text("subj,dataset_name,metric_name,performance\n")
    found = import_human(store, tmp_path)
    assert (found.trials, found.networks, found.others) == ({}, {("cue-conflict", "resnet50"): 5}, 1)
    result = CliRunner().invoke(cli, ["import", "human", str(tmp_path), "--store", str(store.path)])
    assert "cue-conflict: 5 trials of 1 network\nleft out: 1 other CSV files, which hold no trials" in result.output


def test_a_network_under_another_networks_file_name(store, tmp_path):
    network(tmp_path, "resnet50", DECISIONS)
    (tmp_path / "cue-conflict_resnet50_session-1.csv").rename(tmp_path / "cue-conflict_vit_session-1.csv")
    with pytest.raises(ImportDataError, match="line 2: subj is 'resnet50'"):
        import_human(store, tmp_path)


def test_a_variant_stands_beside_what_is_usual(store):
    """A shift by 0 is the clean run, except where the crop comes first: then it is a run of its own."""
    names = {
        "clean": [[1, 0], [0, 1]],
        "shift(5)": [[1, 0], [1, 0]],
        "shift(0,order=crop-first,interpolation=bilinear)": [[1, 0], [0, 1]],
        "shift(5,direction=down,order=crop-first)": [[0, 1], [0, 1]],
    }
    for condition, logits in names.items():
        add_run(store, logits, [0, 1], classes=["cat", "dog"], condition=condition)
    query = (
        "select condition, amount, direction, variant, accuracy, consistency from invariance order by variant, amount"
    )
    assert store.rows(query) == [
        ("clean", 0.0, "longer", "", 1.0, 1.0),
        ("shift(5)", 5.0, "longer", "", 0.5, 0.5),
        ("shift(5,direction=down,order=crop-first)", 5.0, "down", "order=crop-first", 0.5, 0.5),
        (
            "shift(0,order=crop-first,interpolation=bilinear)",
            0.0,
            "longer",
            "order=crop-first,interpolation=bilinear",
            1.0,
            1.0,
        ),
    ]
