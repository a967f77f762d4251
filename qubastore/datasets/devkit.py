"""The devkit of ILSVRC 2012, which has the labels of the flat validation files."""

from __future__ import annotations

from pathlib import Path

from qubastore.errors import DatasetError

FOLDER = "ILSVRC2012_devkit_t12"


def ground_truth(name: str, folder: Path) -> list[str]:
    """The synset of every official validation image, in the order of their numbers.

    The devkit has its own order of classes: `meta.mat` maps its class numbers to synsets.

    Args:
        name: Name of the dataset, for messages.
        folder: The folder of the images; the devkit is looked for in it and in its two parent folders.

    Raises:
        DatasetError: If the devkit is missing or not in the expected format.
    """
    places = [parent / FOLDER / "data" for parent in (folder, folder.parent, folder.parent.parent)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DatasetError(
            f"dataset {name}: {folder} contains images without class folders, and there is no devkit with their labels",
            expected=f"{FOLDER}/data with meta.mat and ILSVRC2012_validation_ground_truth.txt",
            found=f"none of {', '.join(map(str, places))}",
            hint=f"unpack {FOLDER}.tar.gz into {folder.parent}, or sort the images into synset folders",
        )
    try:
        numbers = [int(line) for line in (found / "ILSVRC2012_validation_ground_truth.txt").read_text().split()]
        synsets = _synsets(found / "meta.mat")
        return [synsets[number] for number in numbers]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DatasetError(
            f"dataset {name}: the devkit in {found} cannot be read", found=f"{type(error).__name__}: {error}"
        ) from None


def _synsets(path: Path) -> dict[int, str]:
    """Map ILSVRC2012_ID -> WNID; ids above 1,000 are inner nodes of WordNet."""
    from scipy.io import loadmat

    rows = loadmat(str(path), squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
