"""The zoo: the 326 models of the QUBA study and the four of the second study by name, with the specs that load them.

`published/zoo.csv` lists for each model the spec that loads exactly its weights (from timm, torchvision, open_clip,
bcos or torch.hub, or a checkpoint URL whose file name contains its hash), or what is needed to load it. A similar model
is never substituted. The file also lists the study's preprocessing where it differs from the model's own, and where it
is known: a suite that follows the study's protocol uses the study's, any other suite the model's own
(docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.models.spec import ModelSpec
from qubastore.published import SOURCE, read_table

PREFIX = "zoo:"


REFERENCE_SUITES = {"quba-reference": "hesse2025", "beyond-imagenet-reference": "vishniakov2023"}
"""Suite that follows a study's protocol -> the study whose preprocessing it uses for that study's models."""


TUNINGS = ("supervised", "fine-tuned", "linear probe", "zero-shot")
"""How a model learned ImageNet's classes: trained only on ImageNet-1k's labels; pretrained on something else (other
images, no labels, pseudo-labels) and then trained end to end on them; with frozen features and a linear classifier; or
from the names of the classes only."""


@dataclass(frozen=True)
class ZooEntry:
    """A model of one of the studies.

    Attributes:
        name: Its name in the published table.
        architecture: cnn, transformer, vision-language or bcos.
        pretraining: imagenet-1k, imagenet-21k or large-scale.
        paradigm: supervised, self-supervised, semi-supervised, adversarial, a1, a2 or a3.
        spec: The spec that loads it, in the form of `ModelSpec.parse`; empty if no loader here can load it.
        needs: If `spec` is empty: the package or checkpoint that is needed, and where to find it.
        study: `hesse2025` (arXiv 2503.17110), whose table has it under that name, or `vishniakov2023` (2311.09215).
        study_preprocess: The study's preprocessing, in the form of the option `preprocess`; empty if it is the model's
            own, or if `spec` is empty.
        tuning: One of `TUNINGS`.
        preprocessing_checked: Whether what the study did to images is known from its code (docs/published.md), so that
            `study_preprocess` was compared with it; elsewhere the model's own is assumed.
    """

    name: str
    architecture: str
    pretraining: str
    paradigm: str
    spec: str
    needs: str
    study: str = "hesse2025"
    study_preprocess: str = ""
    tuning: str = ""
    preprocessing_checked: bool = False

    @property
    def stored_as(self) -> str:
        """Its name in a store, with the model's own preprocessing; empty if it cannot be loaded."""
        return ModelSpec.parse(self.spec).display() if self.spec else ""

    @property
    def reference(self) -> str:
        """The spec with the study's preprocessing; `spec` itself if that is the model's own."""
        if not self.study_preprocess:
            return self.spec
        spec = ModelSpec.parse(self.spec)
        return str(replace(spec, options={**spec.options, "preprocess": self.study_preprocess}))

    @property
    def stored_as_reference(self) -> str:
        """Its name in a store, with the study's preprocessing; `stored_as` if that is the model's own."""
        return ModelSpec.parse(self.reference).display() if self.spec else ""

    def under(self, suite: str | None) -> str:
        """The spec for a suite: with the study's preprocessing if the suite follows the study's protocol."""
        return self.reference if REFERENCE_SUITES.get(suite or "") == self.study else self.spec

    @property
    def preprocessing(self) -> str:
        """The preprocessing for tables: the model's own, and the study's if it differs."""
        if not self.spec:
            return "-"
        if not self.preprocessing_checked and self.study == "hesse2025":
            return "own; unchecked against the study's"
        return f"own; the study's: {self.study_preprocess}" if self.study_preprocess else "own, as the study's"

    @property
    def is_exact(self) -> bool:
        """Whether the study's own weights can be loaded."""
        return bool(self.spec)

    @property
    def status(self) -> str:
        """`exact`, or what it needs."""
        return "exact" if self.is_exact else f"needs {self.needs}"


BEYOND_IMAGENET = "beyond-imagenet"
"""Name of the group of the second study's models."""


_SUPERVISED: dict[str, Any] = {
    "study": "vishniakov2023",
    "study_preprocess": "224/0.875/bilinear",
    "tuning": "fine-tuned",
}


_CLIP: dict[str, Any] = {"study": "vishniakov2023", "tuning": "zero-shot"}


_SECOND_STUDY = (
    ZooEntry(
        "deit3-base-21k",
        "transformer",
        "imagenet-21k",
        "supervised",
        "timm:deit3_base_patch16_224.fb_in22k_ft_in1k",
        "",
        **_SUPERVISED,
    ),
    ZooEntry(
        "convnext-base-21k",
        "cnn",
        "imagenet-21k",
        "supervised",
        "timm:convnext_base.fb_in22k_ft_in1k",
        "",
        **_SUPERVISED,
    ),
    ZooEntry(
        "vit-clip",
        "vision-language",
        "large-scale",
        "self-supervised",
        "open_clip:ViT-B-16/laion400m_e31",
        "",
        **_CLIP,
    ),
    ZooEntry(
        "convnext-clip",
        "vision-language",
        "large-scale",
        "self-supervised",
        "open_clip:convnext_base/laion400m_s13b_b51k",
        "",
        **_CLIP,
    ),
)


def whole_zoo() -> tuple[ZooEntry, ...]:
    """The models of both studies."""
    return (*read_zoo(), *_SECOND_STUDY)


@cache
def read_zoo() -> tuple[ZooEntry, ...]:
    """The 326 models of the QUBA study, in the order of the published table."""
    loadable = {row["model"]: row for row in read_table("zoo")}
    return tuple(
        ZooEntry(
            row["model"],
            row["architecture"],
            row["pretraining"],
            row["paradigm"],
            loadable[row["model"]]["spec"],
            loadable[row["model"]]["needs"],
            study_preprocess=loadable[row["model"]]["study_preprocess"],
            tuning=loadable[row["model"]]["tuning"],
            preprocessing_checked=loadable[row["model"]]["preprocessing_checked"] == "yes",
        )
        for row in read_table(SOURCE)
    )


def groups() -> list[str]:
    """Names of the groups: `all` of the QUBA study, its architectures, pretrainings and paradigms, the second study."""
    names = {value for e in read_zoo() for value in (e.architecture, e.pretraining, e.paradigm)}
    return ["all", *sorted(names), BEYOND_IMAGENET]


def in_group(name: str) -> list[ZooEntry]:
    """The models of a group, or the one model of that name.

    Raises:
        UsageError: If no group or model has that name; the error suggests similar names.
    """
    found = [
        entry
        for entry in read_zoo()
        if name in ("all", entry.name, entry.architecture, entry.pretraining, entry.paradigm)
    ] or [entry for entry in _SECOND_STUDY if name in (BEYOND_IMAGENET, entry.name)]
    if not found:
        names = [entry.name for entry in whole_zoo()]
        # A difference in case is the most likely mistake.
        exact = {each.lower(): each for each in names}.get(name.lower())
        raise UsageError(
            f"the zoo has no model or group {name!r}",
            expected=f"a group ({', '.join(groups())}) or the name of one of the {len(names)} models of both studies",
            hint=f"zoo:{exact}" if exact else did_you_mean(name, [*groups(), *names]) or "qubastore show zoo",
        )
    return found


def expand_models(texts: Sequence[str], suite: str | None = None) -> tuple[list[ModelSpec], list[ZooEntry]]:
    """The specs of models as users name them, including `zoo:` names and groups.

    Args:
        texts: `LOADER:NAME`, `zoo:NAME` or `zoo:GROUP`.
        suite: Name of the suite for which they are run: if it follows a study's protocol, that study's models get the
            study's preprocessing.

    Returns:
        The specs without duplicates, and the models of groups that are left out because they cannot be loaded.

    Raises:
        UsageError: On an unknown loader, name or group.
        ModelError: If a single model, named explicitly, cannot be loaded.
    """
    specs: list[ModelSpec] = []
    left_out: list[ZooEntry] = []
    for text in texts:
        if not text.startswith(PREFIX):
            specs.append(ModelSpec.parse(text))
            continue
        entries = in_group(text.removeprefix(PREFIX))
        if len(entries) == 1 and not entries[0].is_exact:
            raise ModelError(
                f"{text} cannot be loaded directly",
                expected=f"needs {entries[0].needs}",
                hint="wrap it in a function and type python:FILE.py:FACTORY; a similar model is never substituted",
            )
        specs += [ModelSpec.parse(entry.under(suite)) for entry in entries if entry.is_exact]
        left_out += [entry for entry in entries if not entry.is_exact]
    return list({str(spec): spec for spec in specs}.values()), left_out
