"""The 19 tasks of VTAB-1k as a table: classes, sizes, sources of the images, and the torchvision loaders.

Zhai et al., "A large-scale study of representation learning with the visual task adaptation benchmark", arXiv
1910.04867. docs/vtab.md is generated from `TASKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

N_TRAIN, N_VAL = 800, 200
"""Number of images to fit a probe, and to select among probes, as in VTAB-1k."""


SEED, HELD_OUT = 0, 5
"""Seed of the draw from torchvision's images; without a test split, one image in `HELD_OUT` is the test split."""


@dataclass(frozen=True)
class Torchvision:
    """How torchvision reads a task.

    Attributes:
        loader: Name of the class in `torchvision.datasets`.
        place: File or folder that the loader expects below its `root`.
        files: Yields (file, label) of every image of the opened dataset; None if the dataset contains arrays.
        train: The loader's arguments for the split from which the 1,000 images are drawn.
        test: The loader's arguments for the test split; None if there is none, and one image in `HELD_OUT` is held out.
        first_label: The loader's label of class 0.
        note: How the task differs from VTAB's, other than in the draw.
    """

    loader: str
    place: str
    files: Callable[[Any], Iterable[tuple[Any, int]]] | None = lambda d: zip(d._image_files, d._labels, strict=True)
    train: Mapping[str, Any] = field(default_factory=lambda: {"split": "train"})
    test: Mapping[str, Any] | None = field(default_factory=lambda: {"split": "test"})
    first_label: int = 0
    note: str = ""


@dataclass(frozen=True)
class Task:
    """A task of VTAB.

    Attributes:
        name: Its name; its datasets are `vtab/NAME/train`, `vtab/NAME/val` and `vtab/NAME/test`.
        group: `natural`, `specialized` or `structured`.
        n_classes: Number of classes.
        n_test: Images of VTAB's test split.
        about: What is to be predicted from an image.
        get: Where to get the images.
        torchvision: How torchvision reads it; None if no loader has this task's labels.
        also: Alternative name of its folder.
    """

    name: str
    group: str
    n_classes: int
    n_test: int
    about: str
    get: str
    torchvision: Torchvision | None = None
    also: str = ""


def _caltech_files(dataset: Any) -> Iterator[tuple[Path, int]]:
    for label, number in zip(dataset.y, dataset.index, strict=True):
        yield Path(dataset.root, "101_ObjectCategories", dataset.categories[label], f"image_{number:04d}.jpg"), label


_HELD_OUT, _TRAINVAL = "20 % held out as test split", {"split": "trainval"}


_CALTECH = Torchvision("Caltech101", "caltech101", _caltech_files, {}, None, note=f"{_HELD_OUT}; no background class")


_CIFAR = Torchvision("CIFAR100", "cifar-100-python", None, {"train": True}, {"train": False})


_DTD = Torchvision("DTD", "dtd", note="partition 1")


_FLOWERS = Torchvision("Flowers102", "flowers-102")


_PETS = Torchvision("OxfordIIITPet", "oxford-iiit-pet", lambda d: zip(d._images, d._labels, strict=True), _TRAINVAL)


_SVHN = Torchvision("SVHN", "train_32x32.mat", None)


_SUN = Torchvision("SUN397", "SUN397", train={}, test=None, note=_HELD_OUT)


_PCAM = Torchvision("PCAM", "pcam", None, note="needs h5py; the test split takes 1 GB of memory")


_EUROSAT = Torchvision("EuroSAT", "eurosat", lambda d: d.samples, {}, None, note=_HELD_OUT)


_COUNT = Torchvision("CLEVRClassification", "clevr", test={"split": "val"}, first_label=3, note="tests on val, as VTAB")


_CLEVR = "CLEVR_v1.0.zip of cs.stanford.edu/people/jcjohns/clevr"


_DSPRITES = "github.com/google-deepmind/dsprites-dataset"


_NORB = "cs.nyu.edu/~ylclab/data/norb-v1.0-small"


_OXFORD = "robots.ox.ac.uk/~vgg/data"


_NAT, _SPE, _STR = "natural", "specialized", "structured"


TASKS = {
    task.name: task
    for task in (
        Task("caltech101", _NAT, 102, 6084, "the object", "data.caltech.edu/records/20086", _CALTECH),
        Task("cifar100", _NAT, 100, 10_000, "the object", "cs.toronto.edu/~kriz/cifar.html", _CIFAR, "cifar"),
        Task("dtd", _NAT, 47, 1880, "the texture", f"dtd-r1.0.1.tar.gz of {_OXFORD}/dtd", _DTD),
        Task("oxford_flowers102", _NAT, 102, 6149, "the flower", f"{_OXFORD}/flowers/102", _FLOWERS),
        Task("oxford_iiit_pet", _NAT, 37, 3669, "the breed", f"{_OXFORD}/pets", _PETS),
        Task("svhn", _NAT, 10, 26_032, "the digit", "*_32x32.mat of ufldl.stanford.edu/housenumbers", _SVHN),
        Task("sun397", _NAT, 397, 21_750, "the scene", "vision.princeton.edu/projects/2010/SUN", _SUN),
        Task("patch_camelyon", _SPE, 2, 32_768, "tumour tissue or none", "github.com/basveeling/pcam", _PCAM),
        Task("eurosat", _SPE, 10, 5400, "the land's use", "EuroSAT.zip of github.com/phelber/eurosat", _EUROSAT),
        Task("resisc45", _SPE, 45, 6300, "the scene from above", "NWPU-RESISC45 (Cheng et al., arXiv 1703.00121)"),
        Task(
            "diabetic_retinopathy",
            _SPE,
            5,
            42_670,
            "the stage of disease",
            "kaggle.com/c/diabetic-retinopathy-detection",
        ),
        Task("clevr_count", _STR, 8, 15_000, "how many objects, 3 to 10", _CLEVR, _COUNT),
        Task("clevr_distance", _STR, 6, 15_000, "nearest object's distance", _CLEVR, also="clevr_dist"),
        Task("dmlab", _STR, 6, 22_735, "distance and sign of the reward", "dmlab of tensorflow.org/datasets"),
        Task("kitti_distance", _STR, 4, 711, "nearest vehicle's distance", "cvlibs.net/datasets/kitti", also="kitti"),
        Task("dsprites_location", _STR, 16, 73_728, "where the sprite is", _DSPRITES, also="dsprites_loc"),
        Task("dsprites_orientation", _STR, 16, 73_728, "how the sprite is turned", _DSPRITES, also="dsprites_ori"),
        Task("smallnorb_azimuth", _STR, 18, 12_150, "the camera's azimuth", _NORB, also="smallnorb_azi"),
        Task("smallnorb_elevation", _STR, 9, 12_150, "the camera's elevation", _NORB, also="smallnorb_ele"),
    )
}
"""Every task by name. Classes and test images as in VTAB's code (github.com/google-research/task_adaptation)."""


def task_table() -> str:
    """The tasks as a Markdown table."""
    rows = ["| task | group | classes | test images | what | torchvision | get |", "|---|---|---|---|---|---|---|"]
    for task in TASKS.values():
        folders = " or ".join(f"`{name}`" for name in (task.name, task.also) if name)
        loader = ": ".join(filter(None, (how.loader, how.note))) if (how := task.torchvision) else "no"
        rows.append(
            f"| {folders} | {task.group} | {task.n_classes} | {task.n_test:,} | {task.about} | {loader} | {task.get} |"
        )
    return "\n".join(rows)
