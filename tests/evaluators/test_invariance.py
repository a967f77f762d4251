"""Runs under scale, shift and resolution, and the view `invariance`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from qubastore.evaluators import ingest
from tests.conftest import write_images

FIXED = """
import torch
from torch import nn

CONFIG = {"input_size": (3, 16, 16), "crop_pct": 0.5, "interpolation": "bilinear", "mean": (0, 0, 0), "std": (1, 1, 1)}


def pooled():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)), CONFIG


def fixed():
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), CONFIG
"""


@pytest.fixture
def ingested(store, tmp_path, ray_session):
    """A network that takes any size and one that does not, over 30 images, unaltered, shifted and at 24 pixels."""
    (tmp_path / "nets.py").write_text(FIXED)
    images = write_images(tmp_path / "images", {"ant": 12, "bee": 9, "cow": 9})
    models = [f"python:{tmp_path}/nets.py:{name}" for name in ("pooled", "fixed")]

    def run(**options):
        return ingest(store, models, {"pets": images}, conditions=CONDITIONS, num_cpus=1, **options)

    return run, images


CONDITIONS = ["scale(1, 2)", "shift(5, direction=both)", "resolution(24)"]


def test_a_network_that_cannot_is_noted_and_left_out(store, ingested):
    run, _ = ingested
    report = run()
    assert report.errors == []
    assert report.unsupported == [("python:nets.py:fixed", "pets under resolution(24)")]
    assert len(report.completed) == 7
    noted = store.rows("select condition, reason from unsupported")
    assert [row[0] for row in noted] == ["resolution(24)"]
    assert "cannot take inputs of 24 x 24 pixels" in noted[0][1]
    again = run()
    assert (again.images, again.errors, again.unsupported) == (0, [], [])
    # It is no unfinished run.
    assert store.rows("select count(*) from runs where condition = 'resolution(24)'") == [(1,)]
    # With --force it is tried again, and noted once.
    assert run(force=True).unsupported == [("python:nets.py:fixed", "pets under resolution(24)")]
    assert store.rows("select count(*) from unsupported") == [(1,)]
    # What was noted in error is taken back by a run.
    pooled = "(select model_id from models where name like '%pooled')"
    store.write(lambda c: c.execute(f"update unsupported set model_id = {pooled}"))
    run(force=True)
    assert store.rows(f"select count(*) from unsupported where model_id in {pooled}") == [(0,)]


def test_invariance_is_that_of_a_plain_loop(store, ingested):
    run, images = ingested
    run()
    files = sorted(images.glob("*/*.png"))
    names = sorted({file.parent.name for file in files})
    labels = np.array([names.index(file.parent.name) for file in files])
    scope: dict = {}
    exec(FIXED, scope)
    for name, conditions in (("pooled", (*ALTERED, "resolution(24)")), ("fixed", ALTERED)):
        network = scope[name]()[0].eval()
        clean = plain(network, files, lambda image: image, 32, 16)
        for condition in conditions:
            change, edge, crop = PLAIN[condition]
            probabilities = plain(network, files, change, edge, crop)
            (row,) = store.rows(
                "select accuracy, true_class_probability, consistency, clean_accuracy, clean_true_class_probability"
                " from invariance where model = ? and condition = ?",
                [f"python:nets.py:{name}", condition],
            )
            want = (
                (probabilities.argmax(1) == labels).mean(),
                probabilities[np.arange(30), labels].mean(),
                (probabilities.argmax(1) == clean.argmax(1)).mean(),
                (clean.argmax(1) == labels).mean(),
                clean[np.arange(30), labels].mean(),
            )
            assert row == pytest.approx(want, abs=1e-6)
    # A factor of 1 and a shift of 0 are the clean run.
    assert store.rows(
        "select transformation, amount, direction, consistency from invariance"
        " where condition = 'clean' and model like '%pooled' order by all"
    ) == [("scale", 1.0, None, 1.0), ("shift", 0.0, "both", 1.0)]


ALTERED = ("scale(2)", "shift(5,direction=both)")


PLAIN = {
    "scale(2)": (lambda image: image, 64, 16),
    "shift(5,direction=both)": (lambda image: moved(image, 5), 32, 16),
    "resolution(24)": (lambda image: image, 48, 24),
}


def moved(image, by):
    canvas = Image.new("RGB", image.size)
    canvas.paste(image, (-by, -by))
    return canvas


def plain(network, files, change, edge, crop):
    """Probabilities of a loop of its own: torchvision's resize and crop, one image at a time."""
    from torchvision.transforms import v2

    steps = v2.Compose([v2.Resize(edge), v2.CenterCrop(crop), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    with torch.inference_mode():
        rows = [network(steps(change(Image.open(file).convert("RGB")))[None]).double().softmax(1) for file in files]
    return torch.cat(rows).numpy()


def test_transformations_need_pixels(store, tiny_models, images, ray_session):
    with pytest.raises(Exception, match="preprocesses its images itself") as caught:
        ingest(store, [f"python:{tiny_models}:prepared"], {"pets": images}, conditions=["scale(2)"])
    assert "scale(2)" in str(caught.value)
