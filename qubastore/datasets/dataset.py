"""A dataset: an ordered list of samples with labels and factors, and its identity."""

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
        size: Size of the encoded image in bytes.
        label: Its class, an index into the dataset's classes; None in a dataset without labels.
        others: Further correct classes.
        factors: Factors of the image: corruption, severity, texture, ...
        data: The encoded image, for datasets in memory; None if it is read from a file.
        path: The file relative to the root; None if it is the key.
        row: Where the image is in the file `path`: a row of a Parquet file, or the offset of a tar member's header;
            None for an image file.
    """

    key: str
    size: int
    label: int | None
    factors: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    data: bytes | None = None
    path: str | None = None
    row: int | None = None
    others: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All correct classes, `label` first; none in a dataset without labels."""
        return () if self.label is None else (self.label, *self.others)


@dataclass(frozen=True)
class Dataset:
    """A named, ordered list of samples.

    Attributes:
        name: Its name; suites refer to datasets by name.
        samples: The samples in order; a sample's id is its position.
        classes: Class names by label.
        label_space: How a model's outputs map to the classes: a name of `qubastore.datasets.label_spaces.LABEL_SPACES`.
        root: Folder that the keys are relative to; None for a dataset in memory.
        framing: How its images become inputs: `model`, or `whole` for datasets whose images are already cropped.
        factors: Factors that all samples share, such as corruption and severity.
        image_size: Width and height in pixels that every image must have; None if they vary.
        keep: Kinds of output that its runs keep by default; None means `qubastore.runs.outputs.DEFAULT_KEEP`.
        listed_factors: Whether the samples' factors come from a separate list, so that keys do not imply them.
        listed_labels: Whether their labels do.
        notes: Messages for the user about how it was read: files left out, the order of its classes.
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
    listed_labels: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def dataset_id(self) -> str:
        """Hash of the name, the ordered (key, byte size) pairs, and what these do not determine.

        The name is included because datasets of uncompressed images can have the same keys and sizes. The classes are
        included too (ImageNet's label spaces, which never change, by name), and, for datasets in memory, whose keys are
        not paths below class folders, the labels and the content.
        """
        listing: list[list[Any]] = [[s.key, s.size] for s in self.samples]
        if self.root is None:
            listing = [
                [s.key, s.size, s.label, content_hash(s.data) if s.data is not None else None] for s in self.samples
            ]
        # The label space `imagenet-1k` adds nothing, so that ids from before other label spaces existed do not change.
        space = {IMAGENET_1K: None, OWN_CLASSES: list(self.classes)}.get(self.label_space, self.label_space)
        # Keys imply the values of factors, so names are enough; the values that all samples share are nowhere else.
        names = sorted(self.samples[0].factors) if self.samples else []
        factors: list[Any] = [names, dict(self.factors)] if names else []
        if self.listed_factors:
            factors.append([dict(s.factors) for s in self.samples])
        # Keys do not imply further correct classes.
        several = [[s.others for s in self.samples]] if any(s.others for s in self.samples) else []
        labels = ["labels", [s.label for s in self.samples]] if self.listed_labels else []
        return identifier("dataset", self.name, space, listing, *factors, *several, *labels)

    def limited(self, limit: int | None) -> Dataset:
        """A separate dataset of at most `limit` samples, evenly spaced so that they are spread over the classes."""
        if limit is None or limit >= len(self.samples):
            return self
        if limit < 1:
            raise UsageError(f"--limit {limit} leaves no images", expected="a number from 1 up")
        chosen = tuple(self.samples[index * len(self.samples) // limit] for index in range(limit))
        return replace(self, samples=chosen)


def images_in_memory(
    name: str, images: Sequence[bytes], labels: Sequence[int], classes: Sequence[str], *, space: str = OWN_CLASSES
) -> Dataset:
    """A dataset of encoded images (PNG, JPEG, ...) in memory.

    Args:
        name: Name of the dataset.
        images: Encoded images.
        labels: Index of each image's class.
        classes: Class names by index.
        space: `own-classes`, or `imagenet-1k` with the 1,000 synsets as classes.

    Raises:
        DatasetError: If there are no images, the lengths differ, or a label is out of range.
    """
    if len(images) != len(labels) or not images:
        raise DatasetError(
            f"dataset {name}: {len(images)} images and {len(labels)} labels",
            expected="at least one image, with one label each",
        )
    wrong = next((label for label in labels if not 0 <= label < len(classes)), None)
    if wrong is not None:
        raise DatasetError(f"dataset {name}: the label {wrong} is not one of the {len(classes)} classes")
    samples = tuple(
        Sample(f"{position:08d}", len(data), int(label), data=data)
        for position, (data, label) in enumerate(zip(images, labels, strict=True))
    )
    return Dataset(name, samples, tuple(classes), space, None)
