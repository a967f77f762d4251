"""The zoo: the 326 models of the QUBA study and the four of the second study by name, as what loads the same weights.

`published/zoo.csv` says for each the model that is exactly it (same weights, in timm, torchvision or open_clip, or a
checkpoint by address whose name carries its hash), or what it needs. A near miss never stands in. It also says how the
study prepared the images where that is not how the model itself does: a suite that follows the study's protocol takes
that, any other suite the model's own (docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.models.spec import ModelSpec
from qubastore.published import SOURCE, read_table

PREFIX = "zoo:"


REFERENCE_SUITES = {"quba-reference": "hesse2025", "beyond-imagenet-reference": "vishniakov2023"}
"""Suite that follows a study's protocol -> the study whose models it takes with the study's preprocessing."""


TUNINGS = ("supervised", "fine-tuned", "linear probe", "zero-shot")
"""How a model came to ImageNet's classes: trained on ImageNet-1k's labels alone; pretrained on something else
(other images, no labels, pseudo-labels) and then trained end to end on them; with frozen features and a linear
classifier; or from the classes' names alone."""


@dataclass(frozen=True)
class ZooEntry:
    """A model of the study.

    Attributes:
        name: Its name in the published table.
        architecture: cnn, transformer, vision-language or bcos.
        pretraining: imagenet-1k, imagenet-21k or large-scale.
        paradigm: supervised, self-supervised, semi-supervised, adversarial, a1, a2 or a3.
        spec: What loads it, as `ModelSpec.parse` reads it; empty where nothing here does.
        needs: Where it is empty: which package or checkpoint, and where.
        study: `hesse2025` (arXiv 2503.17110), whose table has it under that name, or `vishniakov2023` (2311.09215).
        study_preprocess: How the study prepared the images, as the option `preprocess` has it; empty where it used the
            model's own preprocessing, or where nothing here loads the model.
        tuning: One of `TUNINGS`.
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

    @property
    def stored_as(self) -> str:
        """Its name in a store, with the model's own preprocessing; empty where nothing here loads it."""
        return ModelSpec.parse(self.spec).display() if self.spec else ""

    @property
    def reference(self) -> str:
        """What loads it with the study's preprocessing; `spec` itself where that is the model's own."""
        if not self.study_preprocess:
            return self.spec
        spec = ModelSpec.parse(self.spec)
        return str(replace(spec, options={**spec.options, "preprocess": self.study_preprocess}))

    @property
    def stored_as_reference(self) -> str:
        """Its name in a store, with the study's preprocessing; `stored_as` where that is the model's own."""
        return ModelSpec.parse(self.reference).display() if self.spec else ""

    def under(self, suite: str | None) -> str:
        """What loads it for a suite: with the study's preprocessing where the suite follows the study's protocol."""
        return self.reference if REFERENCE_SUITES.get(suite or "") == self.study else self.spec

    @property
    def preprocessing(self) -> str:
        """How the study prepared the images, beside how the model itself does."""
        if not self.spec:
            return "-"
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
"""The group of the second study's models."""


_SUPERVISED = {"study": "vishniakov2023", "study_preprocess": "224/0.875/bilinear", "tuning": "fine-tuned"}


_CLIP = {"study": "vishniakov2023", "tuning": "zero-shot"}


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
    """The 326 of the QUBA study, in the order of the published table."""
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
        )
        for row in read_table(SOURCE)
    )


def groups() -> list[str]:
    """Names of groups: architectures, pretrainings and paradigms, `all` of the QUBA study, and the second study's."""
    names = {value for e in read_zoo() for value in (e.architecture, e.pretraining, e.paradigm)}
    return ["all", *sorted(names), BEYOND_IMAGENET]


def in_group(name: str) -> list[ZooEntry]:
    """The models of a group, or the one model of that name.

    Raises:
        UsageError: on a name that is neither, with the nearest ones.
    """
    found = [
        entry
        for entry in read_zoo()
        if name in ("all", entry.name, entry.architecture, entry.pretraining, entry.paradigm)
    ] or [entry for entry in _SECOND_STUDY if name in (BEYOND_IMAGENET, entry.name)]
    if not found:
        names = [entry.name for entry in whole_zoo()]
        # A slip in upper and lower case is the likeliest.
        exact = {each.lower(): each for each in names}.get(name.lower())
        raise UsageError(
            f"the zoo has no model or group {name!r}",
            expected=f"a group ({', '.join(groups())}) or the name of one of the {len(names)} models of both studies",
            hint=f"zoo:{exact}" if exact else did_you_mean(name, [*groups(), *names]) or "qubastore show zoo",
        )
    return found


def expand_models(texts: Sequence[str], suite: str | None = None) -> tuple[list[ModelSpec], list[ZooEntry]]:
    """Specs of models as users name them, `zoo:` names and groups included.

    Args:
        texts: `LOADER:NAME`, `zoo:NAME` or `zoo:GROUP`.
        suite: Name of the suite that they are run for: where it follows a study's protocol, models of that study's zoo
            come with the study's preprocessing.

    Returns:
        The specs, each once, and the models of groups that need something that is not here.

    Raises:
        UsageError: on an unknown loader, name or group.
        ModelError: where a single model of the zoo cannot be loaded as it is.
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
                f"{text} cannot be loaded as it is",
                expected=f"needs {entries[0].needs}",
                hint="wrap it in a function and type python:FILE.py:FACTORY; nothing like it takes its place",
            )
        specs += [ModelSpec.parse(entry.under(suite)) for entry in entries if entry.is_exact]
        left_out += [entry for entry in entries if not entry.is_exact]
    return list({str(spec): spec for spec in specs}.values()), left_out
