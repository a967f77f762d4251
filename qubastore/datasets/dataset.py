"""What a dataset is: an ordered list of samples with labels and factors, and what makes it the same dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from qubastore.datasets.label_spaces import IMAGENET_1K, OWN_CLASSES
from qubastore.errors import DatasetError, UsageError
from qubastore.hashing import content_hash, identifier

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset.

    Attributes:
        key: Path relative to the dataset's root, `/`-separated, as in class folders, whatever the layout on the disk.
        size: Size of the encoded image, bytes.
        label: Its class, an index into the dataset's classes.
        others: More classes that are right too.
        factors: What else is known of it: corruption, severity, texture, ...
        data: The encoded image, for datasets in memory; None where a file is to be read.
        path: The file relative to the root where it is not the key.
        row: The row of the Parquet file `path` that holds the image; None for an image file.
    """

    key: str
    size: int
    label: int
    factors: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    data: bytes | None = None
    path: str | None = None
    row: int | None = None
    others: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All right classes, `label` first."""
        return (self.label, *self.others)


@dataclass(frozen=True)
class Dataset:
    """An ordered list of samples under a name.

    Attributes:
        name: Its name; suites ask for datasets by name.
        samples: In order; a sample's id is its position.
        classes: Class names by label.
        label_space: How a model's outputs map to the classes: a name of `qubastore.datasets.label_spaces.LABEL_SPACES`.
        root: Folder that the keys are relative to; None for a dataset in memory.
        framing: How its images become inputs: `model`, or `whole` for sets that come already cropped.
        factors: What all samples share: corruption and severity of a cell of a corruption set.
        image_size: Width and height that every image must have, pixels; None where they vary.
        keep: What is kept of its runs unless another choice is made; None means `qubastore.runs.outputs.DEFAULT_KEEP`.
        listed_factors: Whether the samples' factors come from a list of their own, so that keys do not imply them.
        notes: What users should know of how it was read: files left out, the order of its classes.
    """

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    label_space: str
    root: str | None
    framing: str = "model"
    factors: Mapping[str, str] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    keep: tuple[str, ...] | None = None
    listed_factors: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def dataset_id(self) -> str:
        """Hash of the name and the ordered (key, byte size), and of what those leave open.

        The name is part of it: sets of uncompressed images can agree in every key and size. So are the classes, for
        ImageNet's label spaces by name, for those never change; and where keys are no paths below class folders, the
        labels and the content.
        """
        listing: list[list[Any]] = [[s.key, s.size] for s in self.samples]
        if self.root is None:
            listing = [
                [s.key, s.size, s.label, content_hash(s.data) if s.data is not None else None] for s in self.samples
            ]
        # The label space `imagenet-1k` adds nothing, so that ids from before there were others stay what they are.
        space = {IMAGENET_1K: None, OWN_CLASSES: list(self.classes)}.get(self.label_space, self.label_space)
        # Factors that keys imply need their names alone; those that all samples share stand nowhere else.
        names = sorted(self.samples[0].factors) if self.samples else []
        factors: list[Any] = [names, dict(self.factors)] if names else []
        if self.listed_factors:
            factors.append([dict(s.factors) for s in self.samples])
        # Several right classes are no part of a key.
        several = [[s.others for s in self.samples]] if any(s.others for s in self.samples) else []
        return identifier("dataset", self.name, space, listing, *factors, *several)

    def limited(self, limit: int | None) -> Dataset:
        """At most `limit` samples, evenly spaced so that they spread over the classes: a dataset of its own."""
        if limit is None or limit >= len(self.samples):
            return self
        if limit < 1:
            raise UsageError(f"--limit {limit} leaves no image", expected="a number from 1 up")
        chosen = tuple(self.samples[index * len(self.samples) // limit] for index in range(limit))
        return replace(self, samples=chosen)


def images_in_memory(
    name: str, images: Sequence[bytes], labels: Sequence[int], classes: Sequence[str], *, space: str = OWN_CLASSES
) -> Dataset:
    """A dataset of encoded images (PNG, JPEG, ...) that lie in memory.

    Args:
        name: Name of the dataset.
        images: Encoded images.
        labels: Index of each image's class.
        classes: Class names by index.
        space: `own-classes`, or `imagenet-1k` with the 1,000 synsets as classes.

    Raises:
        DatasetError: where the lengths differ or a label is out of range.
    """
    if len(images) != len(labels) or not images:
        raise DatasetError(
            f"dataset {name}: {len(images)} images and {len(labels)} labels", expected="one each, at least"
        )
    wrong = next((label for label in labels if not 0 <= label < len(classes)), None)
    if wrong is not None:
        raise DatasetError(f"dataset {name}: the label {wrong} is none of the {len(classes)} classes")
    samples = tuple(
        Sample(f"{position:08d}", len(data), int(label), data=data)
        for position, (data, label) in enumerate(zip(images, labels, strict=True))
    )
    return Dataset(name, samples, tuple(classes), space, None)
