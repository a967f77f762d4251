"""Images of the store's datasets: finding them where they are recorded to be, and shrinking them once."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from qubastore.datasets.dataset import Dataset
from qubastore.datasets.decoding import open_image
from qubastore.datasets.locating import parse_dataset
from qubastore.datasets.places import read_file
from qubastore.datasets.stored_images import read_part
from qubastore.errors import DatasetError, QubastoreError
from qubastore.hashing import content_hash, identifier
from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.report.page import cache_folder

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL = 192
"""Longest side of a thumbnail in pixels."""
FULL = 1600
"""Longest side of an image on its own page."""
KNOWN = 50_000
"""Number of images whose places stay in memory."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
"""What Pillow may decode: the formats of datasets, and nothing that starts another program."""


_Place = tuple[str | None, str, int | None]
"""Root, path relative to it, and the place in that file."""


@dataclass(frozen=True)
class Found:
    """Where an image is, and what it must be.

    Attributes:
        name: Its dataset.
        root: Folder or prefix in S3.
        key: Its key.
        path: File relative to the root.
        place: Row or offset in that file; None for an image file.
        content: Hash of its bytes when a model first saw it; None if that was not recorded.
    """

    name: str
    root: str | None
    key: str
    path: str
    place: int | None
    content: str | None


class Images:
    """Reads images and makes thumbnails of them; safe to use from several threads.

    Args:
        borrow: Lends an open store for a block.
        places: Where datasets are now, each as `NAME=PATH` with the options of `qubastore ingest --dataset`, or a
            known name under `data_root`.
        data_root: Folder with the datasets that are known by name.
    """

    def __init__(
        self,
        borrow: Callable[[], AbstractContextManager[Database]],
        places: Sequence[str] = (),
        data_root: str | None = None,
    ) -> None:
        self._borrow = borrow
        self._data_root = data_root
        self._moved: dict[str, Mapping[str, _Place]] = {}
        self.given = {text: [*self._listed(parse_dataset(text, data_root))] for text in places}
        """What the user typed for a dataset -> the names of the datasets found there."""
        self._listing = threading.Lock()
        self._known: OrderedDict[tuple[str, int], Found] = OrderedDict()
        self._lock = threading.Lock()
        folder = cache_folder()
        self._cache = None if folder is None else folder / "thumbnails"

    def thumbnail(self, dataset_id: str, sample_id: int) -> bytes:
        """A small WebP of an image, made once and kept in the user's cache.

        Raises:
            DatasetError: If the image is not at hand, is another one than the models saw, or cannot be decoded.
        """
        found = self.find(dataset_id, sample_id)
        name = found.content or identifier("thumbnail", dataset_id, sample_id)
        file = None if self._cache is None else self._cache / name[:2] / f"{name}-{THUMBNAIL}.webp"
        if file is not None:
            with contextlib.suppress(OSError):
                return file.read_bytes()
        made = encoded(shrunk(self.read(found), THUMBNAIL, found.key), quality=80)
        if file is not None:
            _keep(file, made)
        return made

    def full(self, dataset_id: str, sample_id: int) -> bytes:
        """An image as WebP, at most `FULL` pixels wide or high; errors as `thumbnail`."""
        found = self.find(dataset_id, sample_id)
        return encoded(shrunk(self.read(found), FULL, found.key), quality=92)

    def find(self, dataset_id: str, sample_id: int) -> Found:
        """Where an image is: where the user says that its dataset is now, else where the models read it.

        Raises:
            DatasetError: If the store has no such image, or the user's place does not have it.
        """
        known = self._known.get((dataset_id, sample_id))
        if known is None:
            with self._borrow() as store:
                self.look_up(store, dataset_id, [sample_id])
            known = self._known.get((dataset_id, sample_id))
        if known is None:
            raise DatasetError(f"the store has no image {sample_id} of a dataset {dataset_id}")
        moved = self._of_moved(known.name)
        if moved is None:
            return known
        if known.key not in moved:
            raise DatasetError(
                f"dataset {known.name}: the images given for it have none called {known.key}",
                hint=f"qubastore view --dataset {known.name}=PATH, with the images that the models saw",
            )
        root, path, place = moved[known.key]
        return replace(known, root=root, path=path, place=place)

    def look_up(self, store: Database, dataset_id: str, sample_ids: Sequence[int]) -> None:
        """Look up where several images are, so that each need not be asked for."""
        ids = [each for each in sample_ids if (dataset_id, each) not in self._known]
        if not ids:
            return
        rows = store.rows(
            "select samples.sample_id, datasets.name, datasets.root, samples.key,"
            " coalesce(samples.path, samples.key), samples.place, sample_contents.content_hash"
            " from datasets join samples using (dataset_id)"
            " left join sample_contents using (dataset_id, sample_id)"
            f" where {is_one_of('samples.dataset_id', [dataset_id])}"
            f" and samples.sample_id in ({', '.join(map(str, ids))})",
        )
        with self._lock:
            for sample_id, *rest in rows:
                self._known[dataset_id, sample_id] = Found(*rest)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def read(self, found: Found) -> bytes:
        """The encoded bytes of an image.

        Raises:
            DatasetError: If they are not at hand, or not those that the models saw.
        """
        elsewhere = f"qubastore view --dataset {found.name}=PATH, if the images are elsewhere now"
        if found.root is None:
            raise DatasetError(f"dataset {found.name} was in memory, so its images are not at hand", hint=elsewhere)
        parts = PurePosixPath(found.path)
        if parts.is_absolute() or ".." in parts.parts or "\0" in found.path:
            raise DatasetError(f"dataset {found.name}: {found.path!r} is outside the dataset's folder")
        path = f"{found.root}/{found.path}"
        try:
            data: bytes | None = read_file(path) if found.place is None else read_part(path, found.place)
        except (OSError, ValueError, LookupError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DatasetError(f"{path} cannot be read", found=reason, hint=elsewhere) from None
        if data is None:
            raise DatasetError(f"{path} has no image at {found.place}", hint=elsewhere)
        if found.content is not None and content_hash(data) != found.content:
            raise DatasetError(f"{path} has changed since the models saw it", hint=elsewhere)
        return data

    def _of_moved(self, name: str) -> Mapping[str, _Place] | None:
        """Key -> place, for a dataset that the user says is elsewhere; None for others."""
        if name in self._moved or self._data_root is None:
            return self._moved.get(name) or None
        with self._listing:
            if name not in self._moved:
                with contextlib.suppress(QubastoreError):  # where the models read it may still do
                    self._listed(parse_dataset(name, self._data_root))
                self._moved.setdefault(name, {})
        return self._moved[name] or None

    def _listed(self, datasets: Sequence[Dataset]) -> list[str]:
        """Note where the images of datasets are; return the names of the datasets."""
        for dataset in datasets:
            self._moved[dataset.name] = {
                sample.key: (dataset.root, sample.path or sample.key, sample.row) for sample in dataset.samples
            }
        return [dataset.name for dataset in datasets]


def shrunk(data: bytes, longest: int, key: str) -> Image:
    """An encoded image, decoded as RGB and at most so many pixels wide and high.

    Raises:
        DatasetError: If Pillow cannot decode it.
    """
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.draft("RGB", (2 * longest, 2 * longest))
            # As models see it: Pillow alone would clip 16 bits to white.
            made = open_image(data) if image.mode.startswith(("I", "F")) else image.convert("RGB")
        made.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise DatasetError(f"{key} cannot be decoded", found=str(error)[:200]) from None
    return made


def encoded(image: Image, *, quality: int) -> bytes:
    """An image as WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def _keep(file: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all; without a cache that can be written, nothing is kept."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
        new.write_bytes(data)
        new.replace(file)
