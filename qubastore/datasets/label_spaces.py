"""Label spaces: what a dataset's classes are, and which outputs of a model correspond to each of them.

A model with 1,000 ImageNet outputs can also classify datasets with other classes. A row of `LABEL_SPACES` defines how;
the evaluator applies it once, so that predictions are stored in the dataset's own classes.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from qubastore.errors import DatasetError, UsageError, check_name, did_you_mean

IMAGENET_1K = "imagenet-1k"
"""The 1,000 classes of ILSVRC 2012, in the order of their synsets."""


OWN_CLASSES = "own-classes"
"""The user's own classes: class folders in an order of `ORDERS`; the model's outputs are in the same order."""


CODE_POINT, NATURAL = "code-point", "natural"


ORDERS = (CODE_POINT, NATURAL)
"""How class folders are sorted: by the code points of their names, as in torchvision's ImageFolder (img10 before img2,
Zebra before apple); or case-insensitively, with numbers in names by value, as in timm. Folders named 0 to N - 1 are
sorted as numbers in both."""


TRANSFER = "transfer"
"""Classes of another task: a model's outputs do not correspond to them, only its features are used."""


UNLABELLED = "unlabelled"
"""Images without labels: a model's outputs are kept as they are, and there is nothing to compare them with."""


VALIDATION_FILE = re.compile(r"(?:^|/)ILSVRC2012_val_(\d{8})\.[^/]+$")
"""The path of an official validation image of ImageNet; the group is its number, from 1."""


_SYNSET = re.compile(r"n\d{8}")


_WITHOUT_CLASSES = (OWN_CLASSES, TRANSFER, UNLABELLED)
"""Label spaces that do not say what the classes are."""


@dataclass(frozen=True)
class LabelSpace:
    """How a model's outputs become a dataset's classes.

    Attributes:
        name: Its name, as stored with datasets.
        rule: `identity` (output i is class i), `subset` (softmax over the members only), `mean` (the mean probability
            of a class's members, renormalised over the classes), `argmax` (the class of the largest of all outputs; -1
            if that output belongs to no class), or `none` (the outputs do not correspond to the classes, or there are
            no classes).
        meaning: A one-line description.
        source: The paper that defines it.
    """

    name: str
    rule: str
    meaning: str
    source: str = ""

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs that a model must have; None means one per class of the dataset, or any if the rule is
        `none`.
        """
        return None if self.name in _WITHOUT_CLASSES else 1000

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label; empty if the dataset has its own classes."""
        return tuple(_members(self.name))

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The model outputs of each class; empty if the dataset has its own classes."""
        return tuple(_members(self.name).values())


LABEL_SPACES = {
    space.name: space
    for space in (
        LabelSpace(OWN_CLASSES, "identity", "the dataset's own classes, in the order of the model's outputs"),
        LabelSpace(IMAGENET_1K, "identity", "the 1,000 classes of ImageNet", "Russakovsky et al., arXiv 1409.0575"),
        LabelSpace("imagenet-a", "subset", "the 200 classes of ImageNet-A", "Hendrycks et al., arXiv 1907.07174"),
        LabelSpace("imagenet-r", "subset", "the 200 classes of ImageNet-R", "Hendrycks et al., arXiv 2006.16241"),
        LabelSpace(
            "16-categories",
            "mean",
            "16 entry-level categories over 207 classes of ImageNet",
            "Geirhos et al., arXiv 1811.12231",
        ),
        LabelSpace("in9", "argmax", "the 9 classes of the backgrounds challenge", "Xiao et al., arXiv 2006.09994"),
        LabelSpace("pug", "argmax", "the 151 classes of PUG: ImageNet", "Bordes et al., arXiv 2308.03977"),
        LabelSpace(
            TRANSFER, "none", "classes of another task, for probes of features", "Zhai et al., arXiv 1910.04867"
        ),
        LabelSpace(UNLABELLED, "none", "images without labels: predictions are the model's own outputs"),
    )
}
"""Every label space by name."""


def label_space(name: str) -> LabelSpace:
    """The label space called `name`.

    Raises:
        UsageError: On an unknown name.
    """
    return LABEL_SPACES[check_name("label space", name, LABEL_SPACES)]


@cache
def _members(name: str) -> dict[str, tuple[int, ...]]:
    """The classes of a label space, each with its model outputs."""
    if name in _WITHOUT_CLASSES:
        return {}
    if name == IMAGENET_1K:
        return {synset: (index,) for index, synset in enumerate(imagenet_synsets())}
    if LABEL_SPACES[name].rule == "subset":
        synsets = imagenet_synsets()
        return {synsets[int(index)]: (int(index),) for index in _timm_listing(f"{name.replace('-', '_')}_indices.txt")}
    listed = json.loads(files("qubastore.datasets.mappings").joinpath(f"{name}.json").read_text("utf-8"))
    return {category: tuple(indices) for category, indices in listed.items()}


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The 1,000 synsets of ImageNet-1k by class index, as timm lists them."""
    return _timm_listing("imagenet_synsets.txt")


@cache
def real_labels() -> tuple[tuple[int, ...], ...]:
    """The ReaL labels of the 50,000 validation images, by number, from timm's data; empty for images without any.

    Source: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159.
    """
    return tuple(map(tuple, json.loads(_timm_file("imagenet_real_labels.json"))))


def _timm_listing(file: str) -> tuple[str, ...]:
    return tuple(_timm_file(file).split())


def _timm_file(file: str) -> str:
    # Read the data file without importing timm, which would import torch.
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        raise DatasetError("timm is not installed", hint="pip install timm")
    return (Path(package.origin).parent / "data" / "_info" / file).read_text("utf-8")


def implied_space(folders: Sequence[str], where: str, order: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The label space that class folders imply, and the names of its classes.

    Folders that are ImageNet synsets (any subset) imply `imagenet-1k`; if none looks like a synset, they are the user's
    own classes, in an order of `ORDERS`.

    Raises:
        DatasetError: If some folders are ImageNet-1k synsets and others are not.
        UsageError: If an order is given for ImageNet's classes, whose order is fixed.
    """
    synsets = any(_SYNSET.fullmatch(folder) for folder in folders)
    if not synsets:
        return OWN_CLASSES, in_order(folders, order or CODE_POINT)
    if order == NATURAL:
        raise UsageError(f"{where}: its folders are synsets, whose order is fixed", hint="leave order= out")
    others = [folder for folder in folders if folder not in set(imagenet_synsets())]
    if others and all(_SYNSET.fullmatch(folder) for folder in others):
        raise DatasetError(
            f"{where}: the class folder {others[0]!r} is not in the label space {IMAGENET_1K}",
            expected="synsets of ImageNet-1k",
            found=f"{len(others)} of {len(folders)} folders are other synsets: {', '.join(others[:5])}",
            hint="this is another part of ImageNet, such as ImageNet-21k: keep only the folders of the 1,000 classes",
        )
    check_classes(
        folders, imagenet_synsets(), where, "only synsets of ImageNet-1k, or only class folders of another kind"
    )
    return IMAGENET_1K, imagenet_synsets()


def in_order(folders: Sequence[str], order: str) -> tuple[str, ...]:
    """Class folders sorted in an order of `ORDERS`; folders named 0 to N - 1 are sorted as numbers."""
    if set(folders) == set(map(str, range(len(folders)))):
        return tuple(map(str, range(len(folders))))
    return tuple(sorted(folders, key=_natural if order == NATURAL else str))


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """The sort key of timm's order: digits as numbers, the rest in lower case; ties are broken by code points."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces], name


def own_order_notes(space: str, classes: Sequence[str], order: str | None) -> tuple[str, ...]:
    """A note for users who did not choose an order of their own classes, if timm's order differs; else nothing."""
    if space != OWN_CLASSES or order is not None:
        return ()
    other = in_order(classes, NATURAL)
    first = next((place for place, pair in enumerate(zip(classes, other, strict=True)) if pair[0] != pair[1]), None)
    if first is None:
        return ()
    shown = slice(max(0, first - 1), first + 3)
    note = (
        f"its classes are in torchvision's order, by code points (... {', '.join(classes[shown])} ...); timm's"
        f" order differs (... {', '.join(other[shown])} ...). A model's outputs must be in the same order:"
        f" order={NATURAL} chooses timm's, order={CODE_POINT} confirms this one"
    )
    return (note,)


def check_classes(folders: Sequence[str], classes: Sequence[str], where: str, expected: str) -> None:
    """Reject class folders that are not among the classes.

    Raises:
        DatasetError: If there are any; the error names the first ones and says how many there are.
    """
    known = set(classes)
    unknown = [folder for folder in folders if folder not in known]
    if unknown:
        raise DatasetError(
            f"{where}: the class folder {unknown[0]!r} is not in the label space",
            expected=expected,
            found=f"{len(unknown)} of {len(folders)} folders are not classes: {', '.join(unknown[:5])}",
            hint=did_you_mean(unknown[0], known, count=1) or "move the folder elsewhere",
        )
