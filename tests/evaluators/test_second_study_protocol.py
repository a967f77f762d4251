"""How the second study prepares, scales and shifts images (arXiv 2311.09215): pixel for pixel, on real and made images.

The transcriptions here are of the study's definitions, in torchvision's transforms, and share no code with the package.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from qubastore.conditions import Condition
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.metrics.suites import BEYOND_IMAGENET, BEYOND_IMAGENET_REFERENCE
from qubastore.models.preprocessing import Preprocessing
from tests.conftest import SHARED

SUPERVISED = Preprocessing.pinned("224/0.875/bilinear", "supervised")


CLIP = Preprocessing((224, 224), (224, 224), interpolation="bicubic")


SIZES = [(500, 375), (375, 500), (333, 333), (1024, 231), (97, 480), (224, 224), (257, 256), (640, 481)]


def images():
    """Files of 40 images of ImageNet where they are, else noise of odd sizes."""
    folder = SHARED / "data" / "imagenet-500"
    if folder.is_dir():
        return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))[:400:10]
    made = []
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


FILES = images()


def ours(preprocessing, condition):
    samples = [
        SampleFile(n, str(n), None, data=file) if isinstance(file, bytes) else SampleFile(n, str(n), str(file))
        for n, file in enumerate(FILES)
    ]
    chosen = Condition.parse(condition)
    pixels = decode(samples, preprocessing.under(chosen), chosen.shift).pixels
    assert pixels is not None
    return pixels


def opened(file):
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file).convert("RGB")


def crop_shift(image, edge, shift):
    """The 224-pixel window of the image whose shorter edge were `edge`, in the original's pixels, then resized."""
    width, height = image.size
    short = min(width, height)
    gap_x, gap_y = ((side / short * edge) - 224 for side in (width, height))
    left, top = gap_x / 2 * short / edge, gap_y / 2 * short / edge
    if width > height:
        left += shift
    else:
        top += shift
    side = int(224 * short / edge)
    return v2.Resize((224, 224))(functional.crop(image, int(top), int(left), side, side))


def test_the_supervised_models_are_framed_as_there():
    """Resize(256), which is bilinear, then CenterCrop(224)."""
    framed = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])
    np.testing.assert_array_equal(ours(SUPERVISED, "clean"), [np.asarray(framed(opened(file))) for file in FILES])


def test_the_clip_models_are_framed_as_there():
    """open_clip's own: Resize(224, bicubic), CenterCrop(224)."""
    framed = v2.Compose([v2.Resize(224, InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    np.testing.assert_array_equal(ours(CLIP, "clean"), [np.asarray(framed(opened(file))) for file in FILES])


@pytest.mark.parametrize(("own", "edge"), [(SUPERVISED, 256), (CLIP, 224)], ids=["supervised", "clip"])
@pytest.mark.parametrize("factor", [1, 1.25, 1.5, 2, 3])
def test_scale(own, edge, factor):
    """Resize(int(factor * edge)) and CenterCrop(224), bilinear for every model."""
    scaled = v2.Compose([v2.Resize(int(factor * edge)), v2.CenterCrop(224)])
    got = ours(own, f"scale({factor}, interpolation=bilinear)")
    np.testing.assert_array_equal(got, [np.asarray(scaled(opened(file))) for file in FILES])


@pytest.mark.parametrize(("own", "edge"), [(SUPERVISED, 256), (CLIP, 224)], ids=["supervised", "clip"])
@pytest.mark.parametrize("pixels", [0, 5, 30, 75, 100])
def test_shift(own, edge, pixels):
    got = ours(own, f"shift({pixels}, order=crop-first, interpolation=bilinear)")
    np.testing.assert_array_equal(got, [np.asarray(crop_shift(opened(file), edge, pixels)) for file in FILES])


def test_our_own_shift_is_another():
    """Our default moves the original, resizes, and crops: a bilinear filter then also sees what lies outside."""
    got, there = ours(SUPERVISED, "shift(75)"), ours(SUPERVISED, "shift(75, order=crop-first)")
    assert not any(np.array_equal(*pair) for pair in zip(got, there, strict=True))


@pytest.mark.parametrize("size", [112, 224, 336, 512, 640])
def test_resolution(size):
    """Resize(int(size * 256 / 224)), CenterCrop(size), bilinear."""
    framed = v2.Compose([v2.Resize(int(size * (256 / 224))), v2.CenterCrop(size)])
    want = [np.asarray(framed(opened(file))) for file in FILES]
    np.testing.assert_array_equal(ours(SUPERVISED, f"resolution({size})"), want)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("scale(1)", "clean"),
        ("scale(1, interpolation=model)", "clean"),
        ("scale(1, interpolation=bilinear)", "scale(1,interpolation=bilinear)"),
        ("shift(0, direction=both)", "clean"),
        ("shift(0, order=resize-first)", "clean"),
        ("shift(0, order=crop-first)", "shift(0,order=crop-first)"),
        ("shift(30, order=crop-first, direction=down)", "shift(30,direction=down,order=crop-first)"),
    ],
)
def test_what_is_clean_and_what_is_not(text, canonical):
    assert str(Condition.parse(text)) == canonical
    assert Condition.parse(canonical) == Condition.parse(text)


def test_the_suite_asks_for_just_that():
    roles = {role: [r for r in BEYOND_IMAGENET_REFERENCE.roles if r.role == role] for role in ("clean", "transformed")}
    assert len(roles["transformed"]) == 15
    assert {str(r.condition) for r in roles["transformed"] if "shift" in r.condition} == {
        f"shift({pixels},order=crop-first,interpolation=bilinear)" for pixels in (0, 5, 30, 75, 100)
    }
    framings = {r.dataset.partition("/")[0]: r.framing for r in BEYOND_IMAGENET_REFERENCE.roles}
    assert {name for name, framing in framings.items() if framing == "whole"} == {"cue-conflict"}
    assert not any(r.role == "transfer" for r in BEYOND_IMAGENET_REFERENCE.roles)
    datasets = set(BEYOND_IMAGENET_REFERENCE.datasets)
    assert datasets == {r.dataset for r in BEYOND_IMAGENET.roles if r.role != "transfer"}
