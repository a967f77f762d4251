"""Sampling units: which images of a dataset share a part, so that they are not independent draws.

Most images are independent. Some are composed of two parts, and every part is in several images:

| set | images | parts |
|---|---|---|
| cue-conflict (Geirhos et al., ICLR 2019) | `<shape>N-<texture>M.png` | shape image, texture image |
| mixed-same, mixed-rand (Xiao et al., ICLR 2021) | `fg_<image>_bg_<image>.JPEG` | foreground, background |

Images that share a part are not independent draws, and a figure over them varies with the parts (`crossed`). Parts are
identified by name, whatever the dataset: mixed-same and mixed-rand share their foregrounds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_FOREGROUND = re.compile(r"fg_(.+)_bg_(.+)")


@dataclass(frozen=True, eq=False)
class Units:
    """The two parts of each of n images.

    Attributes:
        first: (n,) int64, hash of the name of each image's shape or foreground.
        second: (n,) int64, hash of the name of each image's texture or background.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @cached_property
    def parts(self) -> list[tuple[NDArray[np.int64], NDArray[np.intp]]]:
        """For each kind of part: the hashes that occur, and the index of each image's hash among them, (n,)."""
        return [_coded(self.first), _coded(self.second)]

    @cached_property
    def cells(self) -> tuple[int, NDArray[np.intp]]:
        """The number of pairs of parts that occur, and the index of each image's pair, (n,)."""
        (_, first), (names, second) = self.parts
        found, of = np.unique(first * len(names) + second, return_inverse=True)
        return len(found), of

    def at(self, images: NDArray[np.integer] | NDArray[np.bool_]) -> Units:
        """The parts of some of the images, in the given order."""
        return Units(self.first[images], self.second[images])

    @classmethod
    def joined(cls, several: Sequence[Units]) -> Units:
        """Concatenate the images of several sets; a part that occurs in several sets is one part."""
        if len(several) == 1:
            return several[0]
        return cls(np.concatenate([each.first for each in several]), np.concatenate([each.second for each in several]))


def units_of(images: Sequence[tuple[str, Mapping[str, str]]]) -> Units | None:
    """The parts of a dataset's images.

    Args:
        images: (key, factors) of every sample.

    Returns:
        None if no image is composed of parts: each is an independent draw. If only some are, each other image counts as
        a part of its own.
    """
    named = [_parts(key.rpartition("/")[2].rpartition(".")[0], factors or {}) for key, factors in images]
    if not any(named):
        return None
    filled = [parts or (f"image {key}",) * 2 for parts, (key, _) in zip(named, images, strict=True)]
    first, second = (np.array([_hash(parts[kind]) for parts in filled], np.int64) for kind in (0, 1))
    return Units(first, second)


def _parts(name: str, factors: Mapping[str, str]) -> tuple[str, str] | None:
    if {"shape", "texture"} <= factors.keys():
        shape, texture = (re.escape(factors[kind]) for kind in ("shape", "texture"))
        match = re.fullmatch(rf"({shape}\d+)-({texture}\d+)", name)
        return (f"shape {match[1]}", f"texture {match[2]}") if match else None
    match = _FOREGROUND.fullmatch(name)
    return (f"foreground {match[1]}", f"background {match[2]}") if match else None


def _coded(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    found, of = np.unique(values, return_inverse=True)
    return found, of


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8]) >> 1
