"""Suites: which dataset and condition has which role, and how many samples a complete run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qubastore.conditions import PILLOW, Condition
from qubastore.datasets.catalogue import KNOWN_DATASETS
from qubastore.datasets.label_spaces import TRANSFER
from qubastore.datasets.vtab_tasks import TASKS

ROLES = {
    "clean": "one",
    "adversarial": "several",
    "corrupted": "several",
    "shifted": "several",
    "same_background": "one",
    "random_background": "one",
    "cue_conflict": "one",
    "robustness": "several",
    "transformed": "several",
    "synthetic": "several",
    "transfer": "several",
}
"""Role -> whether one run or several can have it. The last four roles are not part of a dimension: their runs serve
analyses of robustness, invariance, synthetic images and transfer."""


@dataclass(frozen=True)
class Role:
    """A dataset under a condition, in a role of a suite.

    Attributes:
        role: One of `ROLES`.
        dataset: Name of the dataset.
        n_samples: The full number of samples; a run over fewer counts for no dimension. None if any number is allowed.
        condition: Canonical condition.
        framing: How an image is resized and cropped to the input.
        label_space: The label space that the dataset must have; empty if any is allowed.
    """

    role: str
    dataset: str
    n_samples: int | None
    condition: str = "clean"
    framing: str = "model"
    label_space: str = ""


@dataclass(frozen=True)
class Suite:
    """A named set of roles.

    Attributes:
        name: Its name.
        roles: Its roles, with the dataset and condition of each.
        study_constants: Whether its scores are normalised with the constants of the QUBA study, because its roles are
            the study's datasets. All code that normalises, or describes the normalisation, uses this.
        decoder: The decoder of the runs that count.
    """

    name: str
    roles: tuple[Role, ...]
    study_constants: bool = False
    decoder: str = PILLOW

    @property
    def datasets(self) -> list[str]:
        """The names of its datasets, each once."""
        return list(dict.fromkeys(role.dataset for role in self.roles))


VTAB_TASKS = {f"vtab/{task.name}": task.n_test for task in TASKS.values()}
"""The 19 tasks of VTAB-1k -> number of images in the test split. Probes are fitted on their features; the second study
fine-tunes its networks on them."""


_PLAYED = {
    "clean": ("imagenet-val",),
    "adversarial": ("imagenet-val",),
    "corrupted": tuple(name for name in KNOWN_DATASETS if name.startswith("imagenet-c/")),
    "shifted": ("imagenet-r", "sketch", "stylized", "edge", "silhouette"),
    "same_background": ("mixed_same",),
    "random_background": ("mixed_rand",),
    "cue_conflict": ("cue-conflict",),
}


QUBA = Suite(
    "quba",
    tuple(
        Role(
            role,
            name,
            KNOWN_DATASETS[name].n_samples,
            str(Condition.parse(condition)),
            KNOWN_DATASETS[name].framing,
            KNOWN_DATASETS[name].label_space,
        )
        for role, names in _PLAYED.items()
        for name in names
        for condition in (("fgsm", "pgd") if role == "adversarial" else ("clean",))
    ),
    study_constants=True,
)
"""The suite of the QUBA study, to which the published table belongs."""


QUBA_REFERENCE = Suite(
    "quba-reference", tuple(replace(role, framing="model") for role in QUBA.roles), study_constants=True
)
"""The same, with every image resized and cropped as the model requires, as in the study's code: `--framing model`."""


TRANSFORMATIONS = (
    "scale(1.25, 1.5, 2, 3)",
    "shift(5, 30, 75, 100)",
    "resolution(112, 224, 336, 512, 640)",
)
"""The image transformations of the second study; a factor of 1 and a shift of 0 are the clean run."""


def _known(role: str, names: Sequence[str], conditions: Sequence[str] = ("clean",)) -> list[Role]:
    """Roles for datasets of the catalogue, with their default framing and label space."""
    return [
        Role(role, name, known.n_samples, str(condition), known.framing, known.label_space)
        for name in names
        for known in (KNOWN_DATASETS[name],)
        for text in conditions
        for condition in Condition.parse_all(text)
    ]


BEYOND_IMAGENET = Suite(
    "beyond-imagenet",
    (
        *_known("clean", ["imagenet-val"]),
        *_known("corrupted", _PLAYED["corrupted"]),
        *_known("robustness", ["imagenet-a", "imagenet-r", "imagenet-sketch", "imagenet-hard"]),
        *_known("robustness", [name for name in KNOWN_DATASETS if name.startswith("imagenet-v2/")]),
        *_known("cue_conflict", _PLAYED["cue_conflict"]),
        *_known("transformed", ["imagenet-val"], TRANSFORMATIONS),
        *_known("synthetic", [name for name in KNOWN_DATASETS if name.startswith("pug/")]),
        *(
            Role("transfer", f"{task}/{split}", n_samples, label_space=TRANSFER)
            for task, n_test in VTAB_TASKS.items()
            for split, n_samples in (("train", 800), ("val", 200), ("test", n_test))
        ),
    ),
)
"""All that the second study measures (Vishniakov et al., arXiv 2311.09215)."""


REFERENCE_TRANSFORMATIONS = (
    "scale(1, 1.25, 1.5, 2, 3, interpolation=bilinear)",
    "shift(0, 5, 30, 75, 100, order=crop-first, interpolation=bilinear)",
    "resolution(112, 224, 336, 512, 640)",
)
"""The same as in that study's code: bilinear for every model, and a shift that crops the original's pixels."""


BEYOND_IMAGENET_REFERENCE = Suite(
    "beyond-imagenet-reference",
    (
        *(
            # That code uses cue-conflict images as they are, 224 x 224 pixels, and crops everything else.
            role if role.role == "cue_conflict" else replace(role, framing="model")
            for role in BEYOND_IMAGENET.roles
            if role.role not in ("transformed", "transfer")
        ),
        *_known("transformed", ["imagenet-val"], REFERENCE_TRANSFORMATIONS),
    ),
)
"""The same as in that study's code, without VTAB, on which it fine-tunes: images are framed and transformed as there
(docs/second-study.md lists the remaining differences)."""


BUILT_IN = {suite.name: suite for suite in (QUBA, QUBA_REFERENCE, BEYOND_IMAGENET, BEYOND_IMAGENET_REFERENCE)}
"""The built-in suites, by name."""


def has_study_constants(name: str) -> bool:
    """Whether the suite of that name is normalised with the study's constants; user suites never are."""
    return name in BUILT_IN and BUILT_IN[name].study_constants
