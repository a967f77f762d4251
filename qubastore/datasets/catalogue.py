"""The catalogue of datasets that are known by name, in the layouts that their authors distribute.

docs/datasets.md is generated from `KNOWN_DATASETS`. To add a dataset, add a row; to add a kind of layout, add a
function to `readers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from qubastore import conditions
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.readers import (
    PUG_FILE,
    read_backgrounds,
    read_classes,
    read_cue_conflict,
    read_imagenet_val,
    read_model_vs_human,
    read_numbered_classes,
    read_pug,
)
from qubastore.errors import UsageError
from qubastore.plugins import DATASETS, plugins

_ARCHIVES = (*["noise"] * 3, *["blur"] * 4, *["weather"] * 4, *["digital"] * 4)

CORRUPTIONS = dict(zip(conditions.CORRUPTIONS, _ARCHIVES, strict=True))
"""Corruption of ImageNet-C -> the archive that contains it; the four corruptions in `extra.tar` are not included."""


SEVERITIES = tuple(map(int, conditions.SEVERITIES))


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that is known by name.

    Attributes:
        name: Its name.
        folders: Folders below the data root to look in, in order.
        read: Function that reads it.
        label_space: Its label space.
        n_samples: The number of images of the complete dataset; None if unknown, so that any number is complete.
        framing: How its images become inputs by default.
        image_size: Width and height of all its images in pixels; None if they vary.
        factors: Factors that all its images share.
        keep: Kinds of output that its runs keep by default; None means outputs and logits.
        parts: For a part of a dataset, such as `imagenet-c/fog/3`: its possible folders below the dataset's folder.
        about: What it is.
        get: What to download.
        size: Size of the download.
        licence: Its terms, as its authors state them.
    """

    name: str
    folders: tuple[str, ...]
    read: Callable[[str, Path, str], Dataset]
    label_space: str
    n_samples: int | None
    framing: str = "model"
    image_size: tuple[int, int] | None = None
    factors: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] | None = None
    parts: tuple[str, ...] = ()
    about: str = ""
    get: str = ""
    size: str = ""
    licence: str = ""


def cell_folders(corruption: str, severity: str) -> tuple[str, str]:
    """Possible folders of a cell of ImageNet-C: as unpacked from its archives, without or with a folder per archive."""
    return f"{corruption}/{severity}", f"{CORRUPTIONS[corruption]}/{corruption}/{severity}"


_SMALL = "below 0.2 GB: PNG files of 224 x 224 pixels, about 0.1 MB each"


_HUMAN = "the data release of github.com/bethgelab/model-vs-human"


_MVH = "model-vs-human (Geirhos et al., NeurIPS 2021)"


def _model_vs_human(name: str, n_samples: int, about: str, size: str) -> KnownDataset:
    read = read_cue_conflict if name == "cue-conflict" else read_model_vs_human
    places = (f"model-vs-human/datasets/{name}", f"model-vs-human/{name}", name)
    return KnownDataset(
        name,
        places,
        read,
        "16-categories",
        n_samples,
        framing="whole",
        image_size=(224, 224),
        about=f"{about} of {_MVH}",
        get=f"{name}.tar.gz of {_HUMAN}",
        size=size,
        licence="see the release; the images derive from ImageNet: research use",
    )


def _backgrounds(name: str, about: str) -> KnownDataset:
    roots = ("bg_challenge", "backgrounds_challenge", "backgrounds-challenge", ".")
    return KnownDataset(
        name,
        tuple(f"{root}/{name}/val".removeprefix("./") for root in roots),
        read_backgrounds,
        "in9",
        4_050,
        about=f"{about} (Xiao et al., ICLR 2021)",
        get="backgrounds_challenge_data.tar.gz of github.com/MadryLab/backgrounds_challenge",
        size="below 1 GB, all variants together (not measured here)",
        licence="code MIT; the images derive from ImageNet: research use",
    )


def _cells() -> Iterator[KnownDataset]:
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            factors = {"corruption": corruption, "severity": str(severity)}
            parts = cell_folders(corruption, str(severity))
            yield KnownDataset(
                f"imagenet-c/{corruption}/{severity}",
                tuple(f"{root}/{each}" for root in ("imagenet-c", "ImageNet-C") for each in parts),
                partial(read_classes, factors=factors),
                "imagenet-1k",
                50_000,
                framing="whole",
                image_size=(224, 224),
                factors=factors,
                keep=("outputs",),
                parts=parts,
                about="ImageNet-val under 15 corruptions at 5 severities (Hendrycks and Dietterich, ICLR 2019)",
                get="blur.tar, digital.tar, noise.tar, weather.tar (not extra.tar) of zenodo.org/records/2235448",
                size="about 49 GB",
                licence="CC BY 4.0; the images derive from ImageNet: research use",
            )


IMAGENET_V2 = {
    "matched-frequency": "imagenetv2-matched-frequency-format-val",
    "threshold-0.7": "imagenetv2-threshold0.7-format-val",
    "top-images": "imagenetv2-top-images-format-val",
}
"""Test set of ImageNet-V2 -> the folder into which it is unpacked."""


PUG_SETS = {
    "Worlds": "world_name",
    "Camera_Pitch": "camera_pitch",
    "Camera_Yaw": "camera_yaw",
    "Camera_Roll": "camera_roll",
    "Object_Pitch": "character_rotation_pitch",
    "Object_Yaw": "character_rotation_yaw",
    "Object_Roll": "character_rotation_roll",
    "Object_Scale": "character_scale",
    "Object_Texture": "character_texture",
    "Scene_Light": "scene_light",
}
"""Factor set of PUG: ImageNet -> the column of the annotations with the factor's values."""


def _imagenet_v2() -> Iterator[KnownDataset]:
    for name, folder in IMAGENET_V2.items():
        yield KnownDataset(
            f"imagenet-v2/{name}",
            tuple(f"{root}{folder}" for root in ("imagenet-v2/", "imagenetv2/", "")),
            read_numbered_classes,
            "imagenet-1k",
            10_000,
            parts=(folder,),
            about="new test sets made like ImageNet's (Recht et al., ICML 2019)",
            get=f"{folder.removesuffix('-val')}.tar.gz of github.com/modestyachts/ImageNetV2",
            size="1.3 GB each (not measured here)",
            licence="MIT for the code; the images belong to their makers",
        )


def _pug() -> Iterator[KnownDataset]:
    for folder, column in PUG_SETS.items():
        yield KnownDataset(
            f"pug/{folder.lower()}",
            tuple(f"{root}/{folder}" for root in ("PUG_ImageNet", "PUG_IMAGENET", "pug-imagenet")),
            partial(read_pug, column=column),
            "pug",
            None,
            parts=(folder,),
            about="rendered objects of 151 classes, a factor varied in each of ten sets (Bordes et al., NeurIPS 2023)",
            get=f"PUG_ImageNet of github.com/facebookresearch/PUG, with {PUG_FILE}",
            size="88,328 images in all",
            licence="CC BY-NC 4.0",
        )


KNOWN_DATASETS: dict[str, KnownDataset] = {
    known.name: known
    for known in (
        KnownDataset(
            "imagenet-val",
            ("imagenet-val", "imagenet/val", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val"),
            read_imagenet_val,
            "imagenet-1k",
            50_000,
            about="the validation set of ILSVRC 2012 (Russakovsky et al., IJCV 2015)",
            get="ILSVRC2012_img_val.tar of image-net.org, with ILSVRC2012_devkit_t12.tar.gz where it stays flat",
            size="6.3 GB",
            licence="research use, after registration",
        ),
        *_cells(),
        KnownDataset(
            "imagenet-r",
            ("imagenet-r", "ImageNet-R"),
            read_classes,
            "imagenet-r",
            30_000,
            about="renditions of 200 classes (Hendrycks et al., ICCV 2021)",
            get="imagenet-r.tar of github.com/hendrycks/imagenet-r",
            size="2.1 GB",
            licence="MIT for the release; the images belong to their makers",
        ),
        KnownDataset(
            "imagenet-a",
            ("imagenet-a", "ImageNet-A"),
            read_classes,
            "imagenet-a",
            7_500,
            about="photographs that ResNet-50 gets wrong, of 200 classes (Hendrycks et al., CVPR 2021)",
            get="imagenet-a.tar of github.com/hendrycks/natural-adv-examples",
            size="0.7 GB",
            licence="MIT for the release; the images belong to their makers",
        ),
        KnownDataset(
            "imagenet-sketch",
            ("imagenet-sketch/sketch", "ImageNet-Sketch/sketch", "imagenet-sketch", "ImageNet-Sketch"),
            read_classes,
            "imagenet-1k",
            50_889,
            about="black and white sketches of the 1,000 classes (Wang et al., NeurIPS 2019)",
            get="ImageNet-Sketch of github.com/HaohanWang/ImageNet-Sketch",
            size="7.6 GB",
            licence="MIT for the release; the images belong to their makers",
        ),
        *_imagenet_v2(),
        KnownDataset(
            "imagenet-hard",
            ("imagenet-hard/data", "ImageNet-Hard/data", "imagenet-hard", "ImageNet-Hard"),
            read_classes,
            "imagenet-1k",
            10_980,
            about="hard images of six ImageNet sets, several right labels (Taesiri et al., NeurIPS 2023)",
            get="the Parquet files of huggingface.co/datasets/taesiri/imagenet-hard",
            size="6.3 GB (not measured here)",
            licence="MIT for the release; the images belong to their makers",
        ),
        *_pug(),
        _model_vs_human("sketch", 800, "sketches", _SMALL),
        _model_vs_human("stylized", 800, "stylised images", _SMALL),
        _model_vs_human("edge", 160, "edge drawings", _SMALL),
        _model_vs_human("silhouette", 160, "silhouettes", _SMALL),
        _model_vs_human("cue-conflict", 1_280, "images with one class's shape and another's texture", _SMALL),
        _backgrounds("mixed_same", "objects on the background of another image of their class"),
        _backgrounds("mixed_rand", "objects on the background of another class"),
    )
}
"""Every known dataset by name; each part of ImageNet-C, ImageNet-V2 and PUG is a dataset."""


def known_dataset(name: str) -> KnownDataset | None:
    """The dataset that is known by a name, here or to another package; None if there is none.

    A package adds a dataset through an entry point of the group `qubastore.datasets`, whose name is that of the dataset
    and whose object is a `KnownDataset`.

    Raises:
        UsageError: if two packages add the name, or what a package adds is something else.
    """
    if name in KNOWN_DATASETS:
        return KNOWN_DATASETS[name]
    added = plugins(DATASETS, KNOWN_DATASETS).get(name)
    if added is None:
        return None
    found = added.load()
    if not isinstance(found, KnownDataset) or found.name != name:
        raise UsageError(
            f"{name} of the package {added.package} is not a dataset",
            expected=f"a KnownDataset with the name {name!r}",
            found=f"{added.module}: {found!r}"[:200],
        )
    return found


def known_names() -> tuple[str, ...]:
    """The names of all known datasets."""
    return (*KNOWN_DATASETS, *plugins(DATASETS, KNOWN_DATASETS))
