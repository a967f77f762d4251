"""The fifteen corruptions, image by image against two packages that derive from the authors' code."""

from __future__ import annotations

import importlib
import io
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qubastore.conditions import Condition
from qubastore.datasets.decoding import open_image
from qubastore.errors import IngestError
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.pixels import pillow
from qubastore.evaluators.worker.corrupted_files import Corrupted
from qubastore.evaluators.worker.corruptions import _TABLE, corrupt, frost_photographs
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec

cv2 = pytest.importorskip("cv2", reason="the packages that corruptions are compared with need OpenCV")


class Legacy:
    """NumPy's old generator, from which both packages take their numbers, with the methods of the new one."""

    def __init__(self, seed):
        self._state = np.random.RandomState(seed)
        for name in ("normal", "uniform", "poisson"):
            setattr(self, name, getattr(self._state, name))
        self.integers, self.random = self._state.randint, self._state.random_sample


@pytest.fixture(scope="module")
def modern():
    """corrupt-tta, which fits the authors' code except for fog, motion blur, snow, glass blur and elastic transform."""
    return pytest.importorskip("corrupt_tta").corruptions


@pytest.fixture(scope="module")
def older():
    """imagecorruptions, which has most of these; it was written for older releases of its own dependencies."""
    import scipy.ndimage
    import skimage.filters

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(np, "float_", np.float64, raising=False)
        interpolation: Any = types.ModuleType("scipy.ndimage.interpolation")
        interpolation.map_coordinates = scipy.ndimage.map_coordinates
        resources: Any = types.ModuleType("pkg_resources")
        resources.resource_filename = lambda *_: ""
        patch.setitem(sys.modules, "scipy.ndimage.interpolation", interpolation)
        patch.setitem(sys.modules, "pkg_resources", resources)
        found = importlib.import_module("imagecorruptions.corruptions")

        def gaussian(image, sigma, multichannel=False, **options):
            return skimage.filters.gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)

        patch.setattr(found, "gaussian", gaussian)
        yield found


@pytest.fixture(scope="module", params=[0, 1])
def image(request):
    """Smooth colours, edges and noise, 224 x 224."""
    random = np.random.default_rng(request.param)
    coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8))
    values = np.asarray(coarse.resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    values[60:120, 80:160] = random.integers(0, 256, 3)
    return np.clip(values + random.integers(-20, 20, values.shape), 0, 255).astype(np.uint8)


def ours_and(library, image, name, severity, seed=3):
    """The same corruption by both, from the same random numbers; both truncated to integers."""
    legacy: Any = Legacy(seed)
    mine = corrupt(image, name, severity, legacy)
    np.random.seed(seed)
    # Some functions take an image of Pillow, some an array.
    given = Image.fromarray(image) if "imagecorruptions" in library.__name__ else image
    theirs = np.uint8(np.asarray(getattr(library, name)(given, severity)))
    return mine.astype(int), theirs.astype(int)


SEVERITIES = range(1, 6)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "contrast", "pixelate", "jpeg_compression"])
def test_equal_to_the_last_bit(modern, image, name, severity):
    mine, theirs = ours_and(modern, image, name, severity)
    # Truncation may cut one of two values that differ in the 16th digit.
    assert (mine != theirs).mean() < 1e-4
    assert np.abs(mine - theirs).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["defocus_blur", "zoom_blur"])
def test_within_one_level(modern, image, name, severity):
    """Computed there in float32, which may be cut to another integer."""
    mine, theirs = ours_and(modern, image, name, severity)
    assert np.abs(mine - theirs).max() <= 1
    assert (mine != theirs).mean() < 0.05


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise(monkeypatch, modern, image, severity):
    from skimage.util import random_noise

    def seeded(values, mode, amount):
        return random_noise(values, mode=mode, amount=amount, rng=np.random.default_rng(3))

    monkeypatch.setattr(modern, "random_noise", seeded)
    mine = corrupt(image, "impulse_noise", severity, np.random.default_rng(3))
    np.testing.assert_array_equal(mine, np.uint8(modern.impulse_noise(image, severity)))


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["fog", "motion_blur", "glass_blur", "brightness", "snow"])
def test_the_other_package(older, image, name, severity):
    mine, theirs = ours_and(older, image, name, severity)
    differ = np.abs(mine - theirs)
    if name == "snow":
        # There the layer is rounded to 8 bits after the blur alone, and magnified from the top left.
        assert np.median(differ) <= 2
        assert abs(mine.mean() - theirs.mean()) < 1
    else:
        assert differ.max() <= 1
        # Rounded there only once; and values that are whole numbers but for the 16th digit may be truncated to others.
        assert differ.mean() < {"motion_blur": 0.51, "brightness": 0.07}.get(name, 0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform(monkeypatch, modern, image, severity):
    """The same displacements; OpenCV interpolates in steps of 1/32 pixel, and the package has 224 for 244."""
    function, parameters = _TABLE["elastic_transform"]
    scaled = tuple(tuple(value / 244 * 224 for value in each) for each in parameters)
    monkeypatch.setitem(_TABLE, "elastic_transform", (function, scaled))
    mine, theirs = ours_and(modern, image, "elastic_transform", severity)
    differ = np.abs(mine - theirs)
    assert np.median(differ) <= 1
    assert differ.mean() < 2


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost(monkeypatch, modern, image, severity):
    """The same photograph and the same part of it."""

    class Chosen:
        def __init__(self, *values):
            self.values = list(values)

        def integers(self, low, high=None):
            return self.values.pop(0)

    for number, top, left in ((0, 5, 9), (3, 100, 250), (4, 0, 0)):
        random: Any = Chosen(number, top, left)
        mine = corrupt(image, "frost", severity, random)
        drawn = [number + 1, top, left]
        monkeypatch.setattr(np.random, "randint", lambda *_, drawn=drawn: drawn.pop(0))
        theirs = np.uint8(modern.frost(image, severity))
        assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1
        assert (mine != theirs).mean() < 0.05


def test_every_corruption_changes_images_more_at_higher_severities(image):
    for name in _TABLE:
        change = [
            np.abs(corrupt(image, name, severity, np.random.default_rng(0)).astype(int) - image).mean()
            for severity in SEVERITIES
        ]
        assert change[0] > 0.5, name
        if name not in ("elastic_transform", "glass_blur", "frost"):  # not meant to be compared by pixels
            assert change[4] > change[0], name


def test_contrast_by_hand():
    """Mean 100 of a channel: 40 % of the distance to it remain."""
    image = np.full((4, 4, 3), 50, np.uint8)
    image[:2] = 150
    np.testing.assert_array_equal(np.unique(corrupt(image, "contrast", 1, RANDOM)), [80, 120])


def test_brightness_by_hand():
    """(51, 102, 0) has value 0.4, which becomes 0.5: every channel by 1.25; black becomes grey."""
    image = np.array([[[51, 102, 0], [0, 0, 0]]], np.uint8)
    found = corrupt(image, "brightness", 1, RANDOM)[0].tolist()
    assert found == [[63, 127, 0], [25, 25, 25]]


def test_a_corrupted_image_is_a_file_as_imagenet_c_has_them():
    """The centre of the resized image, corrupted, as JPEG; the same each time, and another for another key."""
    from torchvision.transforms import functional

    random = np.random.default_rng(0)
    original = Image.fromarray(random.integers(0, 256, (300, 400, 3), np.uint8))
    buffer = io.BytesIO()
    original.save(buffer, "png")
    how = Corrupted(Condition.parse("corrupt(contrast, severity=2)"), "model")
    found = how.file(buffer.getvalue(), "a/1.png")
    cropped = functional.center_crop(functional.resize(original, 256), 224)
    expected = io.BytesIO()
    changed = corrupt(np.asarray(cropped), "contrast", 2, random)
    Image.fromarray(changed).save(expected, "JPEG", quality=85, optimize=True)
    assert found == expected.getvalue()
    whole = Corrupted(how.condition, "whole").file(buffer.getvalue(), "a/1.png")
    changed = corrupt(np.asarray(functional.resize(original, (224, 224))), "contrast", 2, random)
    assert np.abs(np.asarray(Image.open(io.BytesIO(whole))).astype(int) - changed).mean() < 10
    noise = Corrupted(Condition.parse("corrupt(gaussian_noise, severity=2)"), "model")
    assert noise.file(buffer.getvalue(), "a/1.png") == noise.file(buffer.getvalue(), "a/1.png")
    assert noise.file(buffer.getvalue(), "a/1.png") != noise.file(buffer.getvalue(), "a/2.png")


def test_frost_without_its_photographs_says_what_to_install(monkeypatch):
    monkeypatch.setattr("qubastore.evaluators.worker.corruptions.FROST_PACKAGE", "no_such_package")
    frost_photographs.cache_clear()
    with pytest.raises(IngestError, match=r"needs photographs of frost[\s\S]*qubastore\[frost\]"):
        frost_photographs()
    frost_photographs.cache_clear()


@pytest.mark.usefixtures("ray_session")
def test_corruptions_are_conditions_of_any_dataset(store, tiny_models, images):
    """On their own images: the same outputs with any number of workers, and figures of robustness from them alone."""
    clean = {"pets": images}
    model = f"python:{tiny_models}:first"
    report = ingest(store, [model], clean, conditions=["clean", "corrupt(contrast)", "corrupt(fog, severity=3)"])
    assert (report.errors, len(report.completed)) == ([], 7)
    rows = store.rows("select dataset, corruption, severity from corruption_accuracy order by all")
    assert rows == [("pets", "contrast", severity) for severity in range(1, 6)] + [("pets", "fog", 3)]
    # A model that gets the corrupted files, prepared by hand.
    spec = ModelSpec.parse(model)
    loaded = ModelSource.of(spec).load()
    assert isinstance(loaded.preprocessing, Preprocessing)
    prepare = loaded.preprocessing.framed("whole")
    how = Corrupted(Condition.parse("corrupt(fog, severity=3)"), "model")
    keys = [key for (key,) in store.rows("select key from samples order by sample_id")]
    pixels = np.stack(
        [np.asarray(pillow.prepare(open_image(how.file((images / key).read_bytes(), key)), prepare)) for key in keys]
    )
    with torch.inference_mode():
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (prepare.mean, prepare.std))
        expected = loaded.module((scaled - mean) / std).numpy()
    found = store.rows(
        "select values from logits join run_details using (run_id) where condition like 'corrupt(fog%'"
        " order by sample_id"
    )
    np.testing.assert_allclose([row[0] for row in found], expected, rtol=2**-15, atol=1e-4)
    assert ingest(store, [model], clean, conditions=["corrupt(fog)"], dry_run=True).plan.todo[0].n_images == len(keys)
