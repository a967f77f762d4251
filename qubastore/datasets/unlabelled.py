"""Images without labels, in folders of any structure, tar files or tables: their outputs are kept, to be asked.

The key of an image is its path below the root. In tar files it is the path within the file, after the file's name where
these are not distinct; of a row of a table, its path where these are distinct, else its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from qubastore.datasets.contents import Contents
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import EXTENSIONS, listed
from qubastore.datasets.label_spaces import UNLABELLED
from qubastore.datasets.places import Place
from qubastore.datasets.tables import rows_of, schema_of
from qubastore.datasets.tars import tar_members
from qubastore.errors import DatasetError


def unlabelled_images(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> Dataset:
    """The images of a folder, without labels, sorted by key.

    Args:
        name: Name of the dataset.
        root: The folder.
        found: What it contains.
        factors: Factors that all its images share.

    Raises:
        DatasetError: If there are no images.
    """
    if found.tables:
        samples = _rows(name, root, found, factors)
    elif found.tars and not found.folders:
        samples = _members(name, root, found, factors)
    else:
        samples = [Sample(key, size, None, factors) for key, size in found.images]
    if not samples:
        raise DatasetError(
            f"dataset {name}: no images in {root}",
            expected=f"files with the extensions {' '.join(sorted(EXTENSIONS))}, tar files or tables",
        )
    return replace(listed(name, root, samples, (), UNLABELLED, factors=factors), notes=tuple(found.notes))


def _rows(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> list[Sample]:
    for table in found.tables:
        schema_of(name, f"{root}/{table}")
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


def _members(name: str, root: Place, found: Contents, factors: Mapping[str, str]) -> list[Sample]:
    members = [member for tar in found.tars for member in tar_members(name, root, tar)]
    # Tar files are often numbered anew inside.
    has_names = len({member.path for member in members}) == len(members)
    return [
        Sample(
            (member.path if has_names else PurePosixPath(member.tar).with_suffix("") / member.path).as_posix(),
            member.size,
            None,
            factors,
            path=member.tar,
            row=member.offset,
        )
        for member in members
    ]
