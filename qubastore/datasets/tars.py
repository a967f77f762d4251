"""Images in tar files: WebDataset's layout, or class folders as they are.

In WebDataset's layout the files of a sample have one name and different endings: `000017.jpg` and `000017.cls`, or
`000017.json` with a `label` (or `cls`). A class is a name, or a number, from 0, of a line of `classes.txt` beside the
tar files. Without these, the last folder of an image's path is its class.

Keys are the same as with class folders, `<class>/<file name>`, so that a dataset has the same identity in both layouts.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import EXTENSIONS, is_hidden, listed
from qubastore.datasets.label_spaces import LABEL_SPACES, OWN_CLASSES, check_classes, implied_space
from qubastore.datasets.places import Place, open_file, read_file
from qubastore.errors import DatasetError

NAMES = "classes.txt"
"""The file beside the tar files with the name of a class in each line."""


@dataclass(frozen=True)
class Member:
    """An image in a tar file: the file, where its header begins, its path in it, its size, and its class if written."""

    tar: str
    offset: int
    path: PurePosixPath
    size: int
    label: str | None


def tar_images(
    name: str,
    root: Place,
    tars: Sequence[str],
    *,
    space: str | None = None,
    factors: Mapping[str, str],
    order: str | None = None,
) -> Dataset:
    """The images of tar files, sorted by key. Only headers and labels are read.

    Args:
        name: Name of the dataset.
        root: Folder to which the names of the files are relative.
        tars: The files.
        space: Label space of the classes; None means the one that their names imply.
        factors: Factors that all its images share.
        order: Order of the user's own classes, as in `datasets.image_folder`.

    Raises:
        DatasetError: If a file is truncated or compressed, or an image has no class.
    """
    members = [member for tar in tars for member in tar_members(name, root, tar)]
    where = f"dataset {name}: {root}"
    if not members:
        raise DatasetError(f"{where}: no images in its {len(tars)} tar files", expected=" ".join(sorted(EXTENSIONS)))
    classes_of, in_list = _class_names(name, root, members)
    if space is None:
        space, classes = implied_space(sorted({*classes_of, *(in_list or ())}), where, order)
        if space == OWN_CLASSES and in_list is not None:
            # Numbers are what the model was trained with, so their order is that of its outputs.
            classes = in_list
    else:
        classes = LABEL_SPACES[space].classes
        check_classes(sorted(set(classes_of)), classes, where, f"only classes of the label space {space}")
    index = {each: position for position, each in enumerate(classes)}
    samples = [
        Sample(f"{of}/{member.path.name}", member.size, index[of], factors, path=member.tar, row=member.offset)
        for member, of in zip(members, classes_of, strict=True)
    ]
    return listed(name, root, samples, classes, space, factors=factors)


def read_member(path: str, offset: int) -> bytes:
    """The contents of the member of a tar file whose header begins at an offset."""
    with open_file(path) as file:
        file.seek(offset)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                member = archive.next()
                found = archive.extractfile(member) if member is not None else None
                data = found.read() if found is not None else b""
        except tarfile.TarError as error:
            raise OSError(f"{path} has no file at the offset {offset}: {error}") from None
    if member is None or found is None or len(data) != member.size:
        raise OSError(f"{path} has no whole file at the offset {offset}")
    return data


def tar_members(name: str, root: Place, tar: str) -> Iterator[Member]:
    """The images of a tar file, each with the label that is beside it.

    Raises:
        DatasetError: If it is truncated, damaged or compressed, or an image in it is a link.
    """
    path = f"{root}/{tar}"
    try:
        with open_file(path) as file:
            yield from _members(name, path, tar, file)
    except (tarfile.TarError, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(
            f"dataset {name}: {path} cannot be read as a tar file",
            expected="an uncompressed, whole tar file: a range of its bytes is an image",
            found=str(error).splitlines()[0],
        ) from None


def _members(name: str, path: str, tar: str, file: BinaryIO) -> Iterator[Member]:
    images: list[tarfile.TarInfo] = []
    labels: dict[str, str] = {}
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive = tarfile.TarFile(fileobj=file)
    for member in archive:
        stem, ending = _parts(member.name)
        if member.offset_data + member.size > length:
            raise DatasetError(
                f"dataset {name}: {path} is truncated: it ends within {member.name}",
                expected=f"at least {member.offset_data + member.size:,} bytes",
                found=f"{length:,} bytes",
            )
        if any(is_hidden(part) for part in PurePosixPath(member.name).parts):
            continue
        if ending in EXTENSIONS and (member.islnk() or member.issym()):
            raise DatasetError(
                f"dataset {name}: {member.name} in {path} is a link to {member.linkname}",
                expected="the images themselves",
                hint="tar --hard-dereference --dereference",
            )
        if not member.isfile():
            continue
        if ending in EXTENSIONS:
            images.append(member)
        elif ending in (".cls", ".json"):
            written = archive.extractfile(member)
            assert written is not None
            label = _label(written.read(), ending)
            if label is not None:
                labels[stem] = label
    _check_end(name, path, file, archive.offset)
    for member in images:
        inside = PurePosixPath(member.name)
        yield Member(tar, member.offset, inside, member.size, labels.get(_parts(member.name)[0]))


def _check_end(name: str, path: str, file: BinaryIO, end: int) -> None:
    """Refuse a file that goes on, or stops, where no end is marked: tarfile takes a damaged header for the end."""
    file.seek(end)
    first = file.read(tarfile.BLOCKSIZE)
    rest = first if len(first) == tarfile.BLOCKSIZE else None
    while rest is not None and not any(rest):
        rest = file.read(1 << 20) or None
    if len(first) < tarfile.BLOCKSIZE or rest is not None:
        raise DatasetError(
            f"dataset {name}: {path} is truncated or damaged at byte {end:,}",
            expected="the end of an archive: blocks of zeros, and nothing after them",
            hint="copy it again; files that were joined must stay separate",
        )


def _parts(path: str) -> tuple[str, str]:
    """A path up to the first dot of its file name, which names the sample, and the last ending in lower case."""
    folder, slash, file = path.rpartition("/")
    stem, _, _ = file.partition(".")
    return f"{folder}{slash}{stem}", PurePosixPath(file).suffix.lower()


def _label(data: bytes, ending: str) -> str | None:
    """The class in a file beside an image; None if it has none."""
    text = data.decode("utf-8").strip()
    if ending == ".cls":
        return text
    found: Any = json.loads(text)
    value = next((found[key] for key in ("label", "cls") if key in found), None) if isinstance(found, dict) else None
    return None if value is None else str(value)


def _class_names(name: str, root: Place, members: Sequence[Member]) -> tuple[list[str], tuple[str, ...] | None]:
    """The class of each image, and all classes in their order where numbers are written."""
    if all(member.label is None for member in members):
        return [_folder_of(name, member) for member in members], None
    names = read_file(f"{root}/{NAMES}").decode("utf-8").splitlines() if (root / NAMES).is_file() else None
    if names is not None and len({*names}) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise DatasetError(f"dataset {name}: {root / NAMES} has the class {twice!r} twice", expected="distinct names")
    numbered = False
    found: list[str] = []
    for member in members:
        if member.label is None:
            raise DatasetError(
                f"dataset {name}: {member.path} in {member.tar} has no class",
                expected="a file .cls or .json beside every image, or beside none",
            )
        if not member.label.isdecimal():
            found.append(member.label)
        elif names is None or int(member.label) >= len(names):
            raise DatasetError(
                f"dataset {name}: {member.path} in {member.tar} has the class {member.label}",
                expected=f"a name for it in line {int(member.label) + 1} of {root / NAMES}",
                found="no such file" if names is None else f"{len(names)} lines",
            )
        else:
            numbered = True
            found.append(names[int(member.label)])
    return found, tuple(names) if numbered and names is not None else None


def _folder_of(name: str, member: Member) -> str:
    if len(member.path.parts) < 2:
        raise DatasetError(
            f"dataset {name}: {member.path} in {member.tar} has no class",
            expected="a file .cls or .json beside it, or a folder of its class around it",
        )
    return member.path.parts[-2]
