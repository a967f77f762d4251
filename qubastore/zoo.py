"""The zoo: the 326 models of the QUBA study by name, as what loads the same weights today.

`published/zoo.csv` says for each the model that is exactly it (same weights, in timm, torchvision or open_clip, or a
checkpoint by address whose name carries its hash), or what it needs. A near miss never stands in.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.models import ModelSpec

PREFIX = "zoo:"


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
    """

    name: str
    architecture: str
    pretraining: str
    paradigm: str
    spec: str
    needs: str

    @property
    def stored_as(self) -> str:
        """Its name in a store; empty where nothing here loads it."""
        return ModelSpec.parse(self.spec).display() if self.spec else ""

    @property
    def is_exact(self) -> bool:
        """Whether the study's own weights can be loaded."""
        return bool(self.spec)

    @property
    def status(self) -> str:
        """`exact`, or what it needs."""
        return "exact" if self.is_exact else f"needs {self.needs}"


@cache
def read_zoo() -> tuple[ZooEntry, ...]:
    """All 326, in the order of the published table."""
    folder = files("qubastore.published")
    with folder.joinpath("hesse2025.csv").open(encoding="utf-8") as table, folder.joinpath("zoo.csv").open() as specs:
        loadable = {row["model"]: row for row in csv.DictReader(specs)}
        return tuple(
            ZooEntry(
                row["model"],
                row["architecture"],
                row["pretraining"],
                row["paradigm"],
                loadable[row["model"]]["spec"],
                loadable[row["model"]]["needs"],
            )
            for row in csv.DictReader(table)
        )


def groups() -> list[str]:
    """Names of groups: every architecture, pretraining and paradigm, and `all`."""
    names = {value for e in read_zoo() for value in (e.architecture, e.pretraining, e.paradigm)}
    return ["all", *sorted(names)]


def in_group(name: str) -> list[ZooEntry]:
    """The models of a group, or the one model of that name.

    Raises:
        UsageError: on a name that is neither, with the nearest ones.
    """
    found = [
        entry
        for entry in read_zoo()
        if name in ("all", entry.name, entry.architecture, entry.pretraining, entry.paradigm)
    ]
    if not found:
        names = [entry.name for entry in read_zoo()]
        # A slip in upper and lower case is the likeliest.
        exact = {each.lower(): each for each in names}.get(name.lower())
        raise UsageError(
            f"the zoo has no model or group {name!r}",
            expected=f"a group ({', '.join(groups())}) or the name of one of the study's {len(names)} models",
            hint=f"zoo:{exact}" if exact else did_you_mean(name, [*groups(), *names]) or "qubastore show zoo",
        )
    return found


def expand_models(texts: Sequence[str]) -> tuple[list[ModelSpec], list[ZooEntry]]:
    """Specs of models as users name them, `zoo:` names and groups included.

    Args:
        texts: `LOADER:NAME`, `zoo:NAME` or `zoo:GROUP`.

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
        specs += [ModelSpec.parse(entry.spec) for entry in entries if entry.is_exact]
        left_out += [entry for entry in entries if not entry.is_exact]
    return list({str(spec): spec for spec in specs}.values()), left_out
