"""Label spaces: what a dataset's classes are, and which output of a model means which of them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from qubastore.errors import DatasetError, did_you_mean

IMAGENET_1K = "imagenet-1k"
"""The 1,000 classes of ILSVRC 2012, in the order of their synsets."""

OWN_CLASSES = "own-classes"
"""Class folders in sorted order; the model's outputs are in the same order."""

_SYNSET = re.compile(r"n\d{8}")


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The 1,000 synsets of ImageNet-1k by class index, as timm lists them.

    Read from timm's data file: importing timm would import torch.
    """
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        raise DatasetError("timm is not installed", hint="pip install timm")
    listing = Path(package.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    return tuple(listing.read_text("utf-8").split())


def label_space(folders: Sequence[str], where: str) -> tuple[str, tuple[str, ...]]:
    """The label space that class folders imply, and the names of its classes.

    Folders that are ImageNet synsets (any subset) mean `imagenet-1k`; folders of which none looks like a synset are
    classes of their own, in sorted order.

    Raises:
        DatasetError: where some folders are ImageNet-1k synsets and others are not.
    """
    synsets = set(imagenet_synsets()) if any(_SYNSET.fullmatch(folder) for folder in folders) else set()
    strangers = [folder for folder in folders if folder not in synsets]
    if not synsets:
        return OWN_CLASSES, tuple(sorted(folders))
    if strangers:
        raise DatasetError(
            f"{where}: the class folder {strangers[0]!r} is no ImageNet-1k synset, others are",
            expected="only synsets of ImageNet-1k such as n01440764, or only class folders of another kind",
            found=f"{len(strangers)} of {len(folders)} folders are none: {', '.join(strangers[:5])}",
            hint=did_you_mean(strangers[0], synsets, count=1) or "move the folder away",
        )
    return IMAGENET_1K, imagenet_synsets()
