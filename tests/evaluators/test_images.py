"""Decoding: the same pixels as timm's and torchvision's evaluation transforms; bad images and bad disks told apart."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torchvision.models import get_model_weights, list_models

from qubastore.datasets.decoding import open_image
from qubastore.datasets.image_folder import image_folder
from qubastore.errors import DatasetError, ModelError
from qubastore.evaluators.loaders.torchvision import preprocessing
from qubastore.evaluators.pixels.pillow import prepare
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.models.preprocessing import Preprocessing
from tests.conftest import shared


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(20, 150),
    st.integers(20, 150),
    st.tuples(st.integers(16, 64), st.integers(16, 64)) | st.integers(16, 64).map(lambda s: (s, s)),
    st.sampled_from([0.7, 0.875, 0.9, 0.95, 1.0]),
    st.sampled_from(["center", "squash", "border"]),
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
def test_pixels_are_timms(width, height, crop, share, mode, interpolation):
    config = {
        "input_size": (3, *crop),
        "crop_pct": share,
        "crop_mode": mode,
        "interpolation": interpolation,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.2, 0.2),
    }
    image = noise(width, height)
    theirs = create_transform(**config, is_training=False, normalize=False)(image)
    ours = np.asarray(prepare(image, Preprocessing.from_timm(config, "test"))).transpose(2, 0, 1)
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_pixels_are_torchvisions_for_every_preset():
    presets = {
        w.transforms for name in list_models(module=__import__("torchvision").models) for w in get_model_weights(name)
    }
    seen = set()
    for transforms in presets:
        preset = transforms()
        ours = preprocessing(preset)
        if ours.decode_key in seen or ours.crop[0] > 320:
            continue
        seen.add(ours.decode_key)
        image = noise(301, 250)
        pixels = torch.from_numpy(np.asarray(prepare(image, ours)).transpose(2, 0, 1).copy())
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (ours.mean, ours.std))
        torch.testing.assert_close((pixels.float() / 255 - mean) / std, preset(image), atol=1e-6, rtol=0)
    assert len(seen) > 10


def test_pixels_are_timms_on_real_photographs():
    folder = image_folder("imagenet-val", shared("data", "imagenet-500"))
    config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}
    transform = create_transform(**config, is_training=False, normalize=False)
    ours = Preprocessing.from_timm(config, "test")
    for sample in folder.samples[::25]:
        with Image.open(f"{folder.root}/{sample.key}") as image:
            theirs = np.asarray(transform(image.convert("RGB")))
        data = Path(f"{folder.root}/{sample.key}").read_bytes()
        mine = np.asarray(prepare(open_image(data), ours)).transpose(2, 0, 1)
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_any_mode_becomes_rgb(mode):
    buffer = io.BytesIO()
    noise(20, 20).convert("L" if mode == "I;16" else mode).save(buffer, "TIFF")
    assert open_image(buffer.getvalue()).mode == "RGB"


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_bad_images_are_failures_and_the_rest_goes_on():
    good = png(noise(40, 40))
    data = [good, b"", b"no image", good[: len(good) // 2], good]
    decoded = decode([SampleFile(i, f"k{i}", None, d) for i, d in enumerate(data)], Preprocessing((32, 32), (32, 32)))
    assert decoded.sample_ids == [0, 4]
    assert decoded.pixels is not None
    assert decoded.pixels.shape == (2, 32, 32, 3)
    assert decoded.pixels.dtype == np.uint8
    assert [failure.key for failure in decoded.failures] == ["k1", "k2", "k3"]
    assert all(failure.error for failure in decoded.failures)
    assert len(decoded.contents) == 5


def test_a_vanished_file_is_no_bad_image(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        decode([SampleFile(0, "k", str(tmp_path / "gone.png"))], None)


def test_a_disk_that_stumbles_is_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png(noise(10, 10)))
    attempts = []

    def stumble(self):
        attempts.append(self)
        if len(attempts) < 3:
            raise OSError(5, "Input/output error", str(self))
        return b"read at last"

    monkeypatch.setattr(Path, "read_bytes", stumble)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert decode([SampleFile(0, "k", str(path))], None).contents
    assert len(attempts) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no usable input_size"),
        ({"input_size": (1, 28, 28)}, "no usable input_size"),
        ({"input_size": (3, 32, 32), "crop_mode": "round"}, "unknown crop_mode"),
    ],
)
def test_configs_that_cannot_be_used(config, message):
    with pytest.raises(ModelError, match=message):
        Preprocessing.from_timm(config, "net")


def test_models_that_differ_in_normalisation_share_decoding():
    one = Preprocessing((32, 32), (36, 36), mean=(0.5,) * 3)
    two = Preprocessing((32, 32), (36, 36), mean=(0.1,) * 3)
    assert one.decode_key == two.decode_key
    assert one.describe() != two.describe()
    padded = [Preprocessing((32, 32), (36, 36), mode="border", mean=(m,) * 3).decode_key for m in (0.1, 0.5)]
    assert padded[0] != padded[1], "the padding has the colour of the mean"
    assert math.prod(one.crop) == 1024


# Modes of images ----------------------------------------------------------------------------------------------
def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
"""Every level of grey."""


GREY = np.stack([RAMP] * 3, axis=-1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # 16 bits: 257 * v is v of 8 bits.
        (saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"), GREY),
        (saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"), GREY),
        # 0 to 1 as floats.
        (saved(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"), GREY),
        # A 16-bit PGM.
        (b"P5 16 16 65535\n" + (RAMP.astype(">u2") * 257).tobytes(), GREY),
        # A TIFF that counts from white: 0 is white.
        (saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}), 255 - GREY),
    ],
)
def test_more_than_8_bits_are_scaled_not_clipped(data, expected):
    np.testing.assert_array_equal(np.asarray(open_image(data)), expected)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RAMP.astype(np.int32) * 1000),
        Image.fromarray(RAMP.astype(np.float32)),
        Image.fromarray(np.full((16, 16), np.nan, np.float32)),
    ],
)
def test_values_of_unknown_range_are_a_failure_that_names_the_mode(image):
    result = decode([SampleFile(0, "a.tif", None, saved(image, "TIFF"))], None)
    assert result.sample_ids == []
    assert f"mode {image.mode} has no known range" in result.failures[0].error


def test_other_modes_decode_as_torchvisions_loader_does(tmp_path):
    """CMYK, palettes, transparency, animations, EXIF orientation: what `ImageFolder` gives, and that is documented."""
    from torchvision.datasets.folder import pil_loader

    colours = noise(16, 12)
    seen_through = colours.copy()
    seen_through.putalpha(Image.fromarray(np.full((12, 16), 7, np.uint8)))
    turned = Image.Exif()
    turned[274] = 6
    cases = {
        "cmyk.jpg": saved(colours.convert("CMYK"), "JPEG"),
        "palette.png": saved(colours.quantize(16), "PNG", transparency=0),
        "alpha.png": saved(seen_through, "PNG"),
        "grey-alpha.png": saved(colours.convert("LA"), "PNG"),
        "one-bit.png": saved(colours.convert("1"), "PNG"),
        "animation.gif": saved(colours, "GIF", save_all=True, append_images=[noise(16, 12).rotate(180)]),
        "turned.jpg": saved(colours, "JPEG", exif=turned),
        "lab.tif": saved(colours.convert("LAB"), "TIFF"),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(np.asarray(open_image(data)), np.asarray(pil_loader(tmp_path / name)), name)
    assert open_image(cases["turned.jpg"]).size == (16, 12), "an orientation in EXIF data is not applied"


def test_the_text_of_a_failure_is_the_same_each_time():
    errors = {decode([SampleFile(0, "a.png", None, b"broken")], None).failures[0].error for _ in range(5)}
    assert errors == {"UnidentifiedImageError: cannot identify image file"}
