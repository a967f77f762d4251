"""`python -m benchmarks.coverage [SETS]`: the coverage of 95 % intervals over crossed images.

Sets of images are simulated like cue-conflict: every image has one of G shape images and one of H textures, shapes and
textures are balanced, and no pair occurs twice. Two models decide for shape or texture with a probability that depends
on the model, the shape and the texture (logistic, normal effects); 0.6 of the images count. An interval should contain
the expected share over shapes and textures, or its difference between the models.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from qubastore.statistics.crossed import Crossed, Multipliers
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.sampling_units import Units

DESIGNS = ((200, 63, 19), (200, 160, 48), (1200, 160, 48))
"""Numbers of images, shape images and textures: a sixth of cue-conflict's images with scaled or all parts, and all."""
EFFECTS = {"none": (0.0, 0.0), "weak": (0.4, 0.4), "strong": (1.5, 1.5), "shape": (1.5, 0.0), "texture": (0.0, 1.5)}
"""Standard deviations of the effects of shapes and textures, on the logit scale."""
SHARES = ((0.5, 0.6), (0.25, 0.25), (0.01, 0.05), (0.99, 0.98))
"""Shape biases of the two models."""
COUNTING = 0.6
RESAMPLES = 1000
_SEEDS = 50


@dataclass(frozen=True)
class Covered:
    """Coverage of 95 % intervals over many sets, and their mean width.

    Attributes:
        one: Coverage for the first model's share.
        one_width: Mean width of these intervals.
        apart: Coverage for the difference of the two models.
        apart_width: Mean width of these intervals.
        images: Coverage for the first model's share with the variance of single images alone, ignoring parts.
    """

    one: float
    one_width: float
    apart: float
    apart_width: float
    images: float


def design(n: int, shapes: int, textures: int, generator: np.random.Generator) -> Units:
    """Images with distinct pairs of parts, balanced over shapes and textures."""
    shape, pass_ = np.arange(n) % shapes, np.arange(n) // shapes
    steps = generator.choice(textures, -(-n // shapes), replace=False)
    texture = generator.permutation(textures)[(shape + steps[pass_]) % textures]
    return Units(shape.astype(np.int64), texture.astype(np.int64) + shapes)


def intercept(share: float, deviation: float) -> float:
    """The logit that leads to an expected share when normal effects of a standard deviation are added to it."""
    normals = deviation * stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if special.expit(normals + middle).mean() < share else (low, middle)
    return (low + high) / 2


def estimate(shape: NDArray[np.bool_], counting: NDArray[np.bool_], units: Units, multipliers: Multipliers) -> Estimate:
    """The share of shape decisions, estimated as in `resampling`."""
    share = float(shape.sum() / counting.sum())
    contributions = (shape - share * counting) / counting.sum()
    crossed = Crossed(contributions, units, multipliers, share, counting)
    return Estimate.of(share, np.full(multipliers.n, share), crossed)


@functools.cache
def _multipliers() -> list[Multipliers]:
    """The multipliers of every seed; they cache the numbers of parts, which the designs share."""
    return [Multipliers(RESAMPLES, seed) for seed in range(_SEEDS)]


def coverage(
    n: int, shapes: int, textures: int, effects: tuple[float, float], shares: tuple[float, float], sets: int
) -> Covered:
    """Compute the coverage on simulated sets; the two models share half of the variance of the effects."""
    generator = np.random.default_rng([n, shapes, textures, int(1000 * effects[0]), int(1000 * shares[0])])
    units = design(n, shapes, textures, generator)
    means = [intercept(share, float(np.hypot(*effects))) for share in shares]
    multipliers = _multipliers()
    held = np.zeros((sets, 3))
    widths = np.zeros((sets, 2))
    kinds = [of for _, of in units.parts]
    for number in range(sets):
        common = [size * generator.normal(size=k) for size, k in zip(effects, (shapes, textures), strict=True)]
        both = []
        for mean in means:
            logit = np.full(n, mean)
            for of, size, shared in zip(kinds, effects, common, strict=True):
                logit += ((shared + size * generator.normal(size=len(shared))) / np.sqrt(2))[of]
            counting = generator.uniform(size=n) < COUNTING
            shape = counting & (generator.uniform(size=n) < special.expit(logit))
            both.append(estimate(shape, counting, units, multipliers[number % _SEEDS]))
        (low, high), (apart_low, apart_high) = both[0].interval(), both[0].minus(both[1]).interval()
        assert both[0].crossed is not None
        error = 1.96 * np.sqrt((both[0].crossed.contributions ** 2).sum())
        held[number] = (
            low <= shares[0] <= high,
            apart_low <= shares[0] - shares[1] <= apart_high,
            abs(both[0].value - shares[0]) <= error,
        )
        widths[number] = high - low, apart_high - apart_low
    (one, apart, images), (one_width, apart_width) = held.mean(axis=0).tolist(), widths.mean(axis=0).tolist()
    return Covered(one, one_width, apart, apart_width, images)


def main(sets: int) -> None:
    """Print the table of coverages."""
    print(
        "| images (shapes x textures) | shape bias | effects | coverage | width | difference | width | images alone |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for n, shapes, textures in DESIGNS:
        for shares in SHARES:
            for name, effects in EFFECTS.items():
                found = coverage(n, shapes, textures, effects, shares, sets)
                print(
                    f"| {n:,} ({shapes} x {textures}) | {shares[0]:g}, {shares[1]:g} | {name} | {found.one:.3f} |"
                    f" {found.one_width:.3f} | {found.apart:.3f} | {found.apart_width:.3f} | {found.images:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
