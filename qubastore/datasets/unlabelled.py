"""Images without labels, in folders of any structure, tar files or tables: their outputs are kept, to be asked.

The key of an image is its path below the root, in a tar file that within the file; of a row of a table, its
path where these differ, else its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qubastore.datasets.contents import Contents
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import EXTENSIONS, listed
from qubastore.datasets.label_spaces import UNLABELLED
from qubastore.datasets.places import Place
from qubastore.datasets.tables import rows_of
from qubastore.datasets.tars import tar_members
from qubastore.errors import DatasetError


def unlabelled_images(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> Dataset:
    """The images of a folder, without labels, sorted by key.

    Args:
        name: Name of the dataset.
        root: The folder.
        found: What it contains: its images, or else its tables, or else its tar files.
        factors: Factors that all its images share.

    Raises:
        DatasetError: If there are no images.
    """
    samples = [Sample(key, size, None, factors) for key, size in found.images]
    samples = samples or _rows(name, root, found, factors) or list(_members(name, root, found, factors))
    if not samples:
        raise DatasetError(
            f"dataset {name}: no images in {root}",
            expected=f"files with the extensions {' '.join(sorted(EXTENSIONS))}, tar files or tables",
        )
    return listed(name, root, samples, (), UNLABELLED, factors=factors)


def _rows(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> list[Sample]:
    places = [
        (path, size, table, row)
        for table in found.tables
        for row, (_, path, size) in enumerate(rows_of(name, f"{root}/{table}", None))
    ]
    # What Hugging Face calls a path is often the file's name alone.
    has_names = len({path for path, *_ in places if path}) == len(places)
    return [
        Sample(str(path) if has_names else f"{number:08d}", size, None, factors, path=table, row=row)
        for number, (path, size, table, row) in enumerate(places)
    ]


def _members(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> Iterator[Sample]:
    for tar in found.tars:
        for member in tar_members(name, root, tar):
            yield Sample(member.path.as_posix(), member.size, None, factors, path=tar, row=member.offset)
