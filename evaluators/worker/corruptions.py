"""The fifteen corruptions of ImageNet-C at five severities, as functions of pixels and a random generator.

Written after the definitions and parameters of Hendrycks and Dietterich, Benchmarking neural network robustness to
common corruptions and perturbations, ICLR 2019 (arXiv 1903.12261), and what their generator does; SciPy takes the place
of OpenCV, scikit-image and ImageMagick. Parameters are meant for images of 224 x 224 pixels.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qubastore.errors import IngestError

Pixels = NDArray[np.float64]
"""(height, width, 3) in [0, 1]; results may be outside, and are clipped."""


def corrupt(image: NDArray[np.uint8], name: str, severity: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Corrupt an image.

    Args:
        image: (height, width, 3) uint8.
        name: One of `conditions.CORRUPTIONS`.
        severity: 1 to 5.
        random: Where random corruptions take their numbers.

    Returns:
        The same shape; values are truncated to integers, as by the authors.
    """
    function, parameters = _TABLE[name]
    values = function(image / 255.0, parameters[severity - 1], random)
    # The authors scale before they truncate: 1 - 2**-53 must not become 254.
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(x: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    return x + random.normal(size=x.shape, scale=deviation)


def _shot_noise(x: Pixels, photons: float, random: np.random.Generator) -> Pixels:
    return random.poisson(x * photons) / photons


def _impulse_noise(x: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """Each value becomes 0 or 1, with equal probability, for a share of all values."""
    hit = random.random(x.shape) <= share
    salt = random.random(x.shape) <= 0.5
    return np.where(hit, salt.astype(np.float64), x)


def _defocus_blur(x: Pixels, parameters: tuple[int, float], _: np.random.Generator) -> Pixels:
    radius, softness = parameters
    reach = max(8, radius)
    distances = np.arange(-reach, reach + 1)
    disk = (distances[:, None] ** 2 + distances**2 <= radius**2).astype(np.float64)
    return _filtered(x, _softened(disk / disk.sum(), softness, 1 if radius <= 8 else 2))


def _softened(kernel: NDArray[np.float64], deviation: float, reach: int) -> NDArray[np.float64]:
    """A kernel after a Gaussian blur of 2 * reach + 1 pixels."""
    weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * deviation**2))
    weights /= weights.sum()
    from scipy.ndimage import correlate1d

    for axis in (0, 1):
        kernel = correlate1d(kernel, weights, axis=axis, mode="mirror")
    return kernel


def _filtered(x: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    """The correlation with a square kernel, mirrored at the borders."""
    reach = len(kernel) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    shape = padded.shape[:2]
    # As a product of spectra: the largest kernel has 441 weights.
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.conj(np.fft.rfft2(kernel, s=shape))[:, :, None]
    found: Pixels = np.fft.irfft2(spectrum, s=shape, axes=(0, 1))[: x.shape[0], : x.shape[1]]
    return found


def _glass_blur(x: Pixels, parameters: tuple[float, int, int], random: np.random.Generator) -> Pixels:
    """Blur, let pixels take the colour of one nearby, and blur again.

    The authors mean to exchange two pixels, but their code copies one over the other; so it is done here.
    """
    deviation, reach, passes = parameters
    pixels = (_blurred(x, deviation) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    here = (rows[:, None] * width + columns).ravel()
    order = list(range(height * width))
    for _ in range(passes):
        moves = random.integers(-reach, reach, size=(len(here), 2))
        there = here + moves[:, 1] * width + moves[:, 0]
        for target, source in zip(here.tolist(), there.tolist(), strict=True):
            order[target] = order[source]
    shuffled = pixels.reshape(-1, 3)[order].reshape(pixels.shape)
    return _blurred(shuffled / 255.0, deviation)


def _blurred(x: Pixels, deviation: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    blurred: Pixels = gaussian_filter(x, (deviation, deviation, 0), mode="nearest", truncate=4)
    return blurred


def _motion_blur(x: Pixels, parameters: tuple[int, float], random: np.random.Generator) -> Pixels:
    """ImageMagick's motion blur, whose result has 8 bits."""
    radius, deviation = parameters
    return np.rint(_moved(x, radius, deviation, random.uniform(-45, 45)) * 255) / 255


def _moved(x: Pixels, radius: int, deviation: float, angle: float) -> Pixels:
    """The weighted mean of an image and its shifts along a line: weights fall with the distance, to one side only."""
    places = np.arange(2 * radius + 1)
    weights = np.exp(-np.square(places) / (2 * deviation**2))
    weights /= weights.sum()
    direction = np.deg2rad(angle)
    down = np.ceil(places * np.sin(direction) - 0.5).astype(int)
    right = np.ceil(places * np.cos(direction) - 0.5).astype(int)
    height, width = x.shape[:2]
    reach = 2 * radius + 1
    padded = np.pad(x, [(reach, reach), (reach, reach)] + [(0, 0)] * (x.ndim - 2), mode="edge")
    found = np.zeros_like(x)
    for weight, dy, dx in zip(weights, down + reach, right + reach, strict=True):
        found += weight * padded[dy : dy + height, dx : dx + width]
    return found


def _zoom_blur(x: Pixels, steps: tuple[float, float], _: np.random.Generator) -> Pixels:
    """The mean of an image and its magnifications."""
    end, step = steps
    factors = np.arange(1, end, step)
    values = x.astype(np.float32)
    total = values + sum(_magnified(values, factor) for factor in factors)
    found: Pixels = (total / (len(factors) + 1)).astype(np.float64)
    return found


def _magnified(x: NDArray[Any], factor: float) -> NDArray[Any]:
    """The centre of an image, enlarged to its size: scipy.ndimage.zoom with order=1, as two products of matrices."""
    for axis in (0, 1):
        size = x.shape[axis]
        part = int(np.ceil(size / factor))
        first, larger = (size - part) // 2, round(part * factor)
        places = (np.arange(size) + (larger - size) // 2) * ((part - 1) / (larger - 1))
        below = np.minimum(places.astype(int), part - 2)
        weights = np.zeros((size, part), x.dtype)
        weights[np.arange(size), below] = below + 1 - places
        weights[np.arange(size), below + 1] = places - below
        centre = np.moveaxis(x, axis, 0)[first : first + part]
        x = np.moveaxis(np.tensordot(weights, centre, 1), 0, axis)
    return x


def _snow(x: Pixels, parameters: tuple[float, ...], random: np.random.Generator) -> Pixels:
    mean, deviation, size, threshold, radius, spread, share = parameters
    flakes = _magnified(random.normal(size=x.shape[:2], loc=mean, scale=deviation), size)
    flakes[flakes < threshold] = 0
    flakes = (np.clip(flakes, 0, 1) * 255).astype(np.uint8) / 255
    flakes = np.rint(_moved(flakes, int(radius), spread, random.uniform(-135, -45)) * 255) / 255
    layer = flakes[:, :, None]
    grey = (x @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    lighter = share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)
    found: Pixels = lighter + layer + np.rot90(layer, 2)
    return found


def _frost(x: Pixels, shares: tuple[float, float], random: np.random.Generator) -> Pixels:
    """Part of a photograph of frost on top: one of the first five of the authors' six, which is all that they use."""
    photograph = frost_photographs()[random.integers(5)]
    height, width = x.shape[:2]
    top = random.integers(0, photograph.shape[0] - height)
    left = random.integers(0, photograph.shape[1] - width)
    return shares[0] * x + shares[1] * photograph[top : top + height, left : left + width] / 255.0


FROST_PACKAGE = "imagecorruptions"
"""The package that carries the authors' photographs of frost; its code is not run."""


@cache
def frost_photographs() -> tuple[NDArray[np.uint8], ...]:
    """The photographs of frost, (height, width, 3) uint8.

    Raises:
        IngestError: if the package that carries them is not installed.
    """
    found = importlib.util.find_spec(FROST_PACKAGE)
    if found is None or found.origin is None:
        raise IngestError(
            f"corrupt(frost) needs photographs of frost, which the package {FROST_PACKAGE} carries",
            expected="the package on every machine that reads images",
            hint="pip install 'qubastore[frost]'",
        )
    folder = Path(found.origin).parent / "frost"
    files = [folder / f"frost{number}.{'png' if number <= 3 else 'jpg'}" for number in range(1, 7)]
    return tuple(np.asarray(Image.open(file).convert("RGB")) for file in files)


def _fog(x: Pixels, parameters: tuple[float, float], random: np.random.Generator) -> Pixels:
    amount, decay = parameters
    size = 1 << (max(x.shape[:2]) - 1).bit_length()
    height, width = x.shape[:2]
    clouds = _clouds(size, decay, random)[:height, :width, None]
    found: Pixels = (x + amount * clouds) * x.max() / (x.max() + amount)
    return found


def _clouds(size: int, decay: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A fractal surface by the diamond-square algorithm, (size, size) in [0, 1]; size is a power of two."""
    surface = np.zeros((size, size))
    amplitude, step = 100.0, size

    def displaced(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return sums / 4 + amplitude * random.uniform(-amplitude, amplitude, sums.shape)

    while step >= 2:
        half = step // 2
        corners = surface[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        surface[half::step, half::step] = displaced(pairs + np.roll(pairs, -1, axis=1))
        centres, corners = surface[half::step, half::step], surface[::step, ::step]
        across = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        surface[::step, half::step] = displaced(across)
        along = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        surface[half::step, ::step] = displaced(along)
        step, amplitude = half, amplitude / decay
    surface -= surface.min()
    surface /= surface.max()
    return surface


def _brightness(x: Pixels, amount: float, _: np.random.Generator) -> Pixels:
    """Add to the value of HSV, hue and saturation unchanged: every channel grows in the same proportion."""
    value = x.max(axis=2, keepdims=True)
    brighter = np.clip(value + amount, 0, 1)
    # Black has no hue.
    found: Pixels = np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter)
    return found


def _contrast(x: Pixels, share: float, _: np.random.Generator) -> Pixels:
    mean = x.mean(axis=(0, 1), keepdims=True)
    found: Pixels = (x - mean) * share + mean
    return found


def _elastic_transform(x: Pixels, parameters: tuple[float, float, float], random: np.random.Generator) -> Pixels:
    """A random affine map of three points, then a smooth random displacement of every pixel."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    strength, deviation, jitter = parameters
    height, width = x.shape[:2]
    centre, side = np.array([height // 2, width // 2], np.float64), min(height, width) // 3
    # Points as (x, y); the authors put the height first, which makes no difference for squares.
    points = np.array([centre + side, [centre[0] + side, centre[1] - side], centre - side])
    moved = points + random.uniform(-jitter, jitter, size=points.shape)
    affine = np.linalg.solve(np.c_[moved, np.ones(3)], points)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    source = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ affine

    def sampled(image: Pixels, down: NDArray[np.float64], right: NDArray[np.float64], mode: str) -> Pixels:
        channels = [map_coordinates(image[:, :, each], [down, right], order=1, mode=mode) for each in range(3)]
        return np.stack(channels, axis=-1)

    image = sampled(x, source[:, :, 1], source[:, :, 0], "mirror")

    def smooth() -> NDArray[np.float64]:
        field = random.uniform(-1, 1, size=(height, width))
        found: NDArray[np.float64] = gaussian_filter(field, deviation, mode="reflect", truncate=3) * strength
        return found

    right = smooth()
    return sampled(image, rows + smooth(), columns + right, "reflect")


def _pixelate(x: Pixels, share: float, _: np.random.Generator) -> Pixels:
    image = Image.fromarray(np.rint(x * 255).astype(np.uint8))
    small = (int(image.width * share), int(image.height * share))
    coarse = image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)
    return np.asarray(coarse) / 255.0


def _jpeg_compression(x: Pixels, quality: int, _: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(np.rint(x * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255.0


_TABLE: dict[str, tuple[Callable[[Pixels, Any, np.random.Generator], Pixels], tuple[Any, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": (_defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass_blur": (_glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    "motion_blur": (_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": (_zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    "snow": (
        _snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (_frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": (_fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": (
        _elastic_transform,
        # The authors compute with 244 in place of 224.
        (
            (244 * 2, 244 * 0.7, 244 * 0.1),
            (244 * 2, 244 * 0.08, 244 * 0.2),
            (244 * 0.05, 244 * 0.01, 244 * 0.02),
            (244 * 0.07, 244 * 0.01, 244 * 0.02),
            (244 * 0.12, 244 * 0.01, 244 * 0.02),
        ),
    ),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (_jpeg_compression, (25, 18, 15, 10, 7)),
}
"""Corruption -> its function, and its parameters at severities 1 to 5."""
