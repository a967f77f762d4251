"""Scale, shift and resolution: names of conditions, and pixels."""

from __future__ import annotations

import numpy as np
import pytest

from qubastore.conditions import Condition, Shift
from qubastore.errors import UsageError
from qubastore.evaluators.pixels.pillow import prepare
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.models.preprocessing import Preprocessing
from tests.evaluators.test_images import noise


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("scale(1.25)", ["scale(1.25)"]),
        ("scale(factor=1.250)", ["scale(1.25)"]),
        ("scale(1, 1.25, 3)", ["clean", "scale(1.25)", "scale(3)"]),
        ("shift(0)", ["clean"]),
        ("shift(30)", ["shift(30)"]),
        ("shift(30, direction=longer)", ["shift(30)"]),
        ("shift(5, 30, direction=both)", ["shift(5,direction=both)", "shift(30,direction=both)"]),
        ("resolution(112,224)", ["resolution(112)", "resolution(224)"]),
    ],
)
def test_canonical_names(text, canonical):
    found = [str(condition) for condition in Condition.parse_all(text)]
    assert found == canonical
    assert [str(Condition.parse(name)) for name in found] == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale", "has no factor"),
        ("scale(0)", "a number from 0.1 to 10"),
        ("shift(2.5)", "a whole number from 0 to 10,000"),
        ("shift(3, direction=left)", "unknown direction of shift"),
        ("resolution(-1)", "a whole number from 1 to 4,096"),
        ("scale(2, factor=3)", "has more than one factor"),
        ("rotate(3)", "unknown condition"),
    ],
)
def test_unknown_conditions_are_refused(text, says):
    with pytest.raises(UsageError, match=says):
        Condition.parse_all(text)


def test_several_values_are_several_conditions():
    with pytest.raises(UsageError, match="means 2 conditions"):
        Condition.parse("scale(1.25, 2)")


@pytest.mark.parametrize(
    ("size", "direction", "moved"),
    [
        ((50, 40), "longer", (7, 0)),
        ((40, 50), "longer", (0, 7)),
        ((40, 40), "longer", (0, 7)),
        ((40, 50), "right", (7, 0)),
        ((50, 40), "down", (0, 7)),
        ((50, 40), "both", (7, 7)),
    ],
)
def test_a_shift_shows_what_lies_further_on(size, direction, moved):
    """Pixel (x, y) is the original's (x + dx, y + dy); black where that lies outside."""
    image = noise(*size)
    pixels = np.asarray(image)
    padded = np.zeros((size[1] + 7, size[0] + 7, 3), np.uint8)
    padded[: size[1], : size[0]] = pixels
    dx, dy = moved
    want = padded[dy : dy + size[1], dx : dx + size[0]]
    unchanged = Preprocessing(crop=size[::-1], resize=size[::-1], mode="squash")
    np.testing.assert_array_equal(np.asarray(prepare(image, unchanged, Shift(7, direction))), want)


def test_a_shift_comes_before_resizing(tmp_path):
    """In pixels of the original: a window of a centre crop without resizing moves by just as many."""
    image = noise(64, 48)
    image.save(tmp_path / "image.png")
    crop = Preprocessing(crop=(32, 32), resize=(48, 48))
    pixels = decode([SampleFile(0, "image.png", str(tmp_path / "image.png"))], crop, Shift(5, "right")).pixels
    assert pixels is not None
    (got,) = pixels
    left, top = (64 - 32) // 2 + 5, (48 - 32) // 2
    np.testing.assert_array_equal(got, np.asarray(image)[top : top + 32, left : left + 32])


@pytest.mark.parametrize("factor", [1.25, 1.5, 2, 3])
def test_scale_resizes_by_more_and_crops_the_same(factor):
    """As the study has it: Resize(int(factor * 256)), CenterCrop(224)."""
    from torchvision.transforms import v2

    image = noise(300, 260)
    own = Preprocessing(crop=(224, 224), resize=(256, 256), interpolation="bilinear")
    want = v2.Compose([v2.Resize(int(factor * 256)), v2.CenterCrop(224)])(image)
    got = prepare(image, own.under(Condition.parse(f"scale({factor})")))
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


@pytest.mark.parametrize("size", [112, 224, 336, 512, 640])
def test_resolution_keeps_the_share_of_the_crop(size):
    """As the study has it: Resize(int(size * 256 / 224)), CenterCrop(size)."""
    own = Preprocessing(crop=(224, 224), resize=(256, 256))
    altered = own.under(Condition.parse(f"resolution({size})"))
    assert (altered.crop, altered.resize) == ((size, size), (int(size * 256 / 224),) * 2)
    whole = own.framed("whole").under(Condition.parse(f"resolution({size})"))
    assert whole.resize == whole.crop == (size, size)
