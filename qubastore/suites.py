"""Suites: which dataset and condition plays which role, and how many samples make it whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qubastore.errors import UsageError, did_you_mean

ROLES = ("clean",)
"""The roles that a dimension can ask for."""


@dataclass(frozen=True)
class Role:
    """A dataset under a condition, in a role of a suite.

    Attributes:
        role: One of `ROLES`.
        dataset: Name of the dataset.
        n_samples: The full number of samples; a run over fewer counts in no dimension.
        condition: Canonical condition.
        framing: How an image becomes the input.
    """

    role: str
    dataset: str
    n_samples: int
    condition: str = "clean"
    framing: str = "model"


@dataclass(frozen=True)
class Suite:
    """A named set of roles."""

    name: str
    roles: tuple[Role, ...]


QUBA = Suite("quba", (Role("clean", "imagenet-val", 50_000),))
"""The suite of the QUBA study; the published table belongs to it."""


def suite_from_table(table: dict[str, Any], where: str) -> Suite:
    """The suite that a TOML table describes.

    Args:
        table: `{"name": ..., "roles": {"clean": {"dataset": ..., "samples": ...}}}`.
        where: The file, for messages.

    Raises:
        UsageError: on a missing name, an unknown role, or a role without dataset or samples.
    """
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: [suite] has no name", hint='name = "my-suite"')
    if name == QUBA.name:
        raise UsageError(
            f"{where}: the suite name {name!r} belongs to the study's own suite", hint="choose another name"
        )
    listed = table.get("roles", {})
    if not isinstance(listed, dict):
        raise UsageError(f"{where}: the roles of suite {name!r} are no table", hint="[suite.roles]")
    roles = []
    for role, entry in listed.items():
        if role not in ROLES:
            raise UsageError(
                f"{where}: unknown role {role!r} in suite {name!r}",
                expected=f"one of {', '.join(ROLES)}",
                hint=did_you_mean(role, ROLES),
            )
        samples = entry.get("samples") if isinstance(entry, dict) else None
        if not isinstance(samples, int) or samples < 1 or not isinstance(entry.get("dataset"), str):
            raise UsageError(
                f"{where}: role {role!r} of suite {name!r} is not whole",
                expected="a dataset name and the full number of samples",
                found=repr(entry),
                hint=f'{role} = {{ dataset = "my-images", samples = 1000 }}',
            )
        known = {"dataset", "samples", "condition", "framing"}
        if unknown := sorted(set(entry) - known):
            raise UsageError(
                f"{where}: role {role!r} of suite {name!r} has an unknown key {unknown[0]!r}",
                expected=f"{', '.join(sorted(known))}",
            )
        roles.append(
            Role(role, entry["dataset"], samples, entry.get("condition", "clean"), entry.get("framing", "model"))
        )
    if not roles:
        raise UsageError(f"{where}: suite {name!r} has no roles", hint="add [suite.roles]")
    return Suite(name, tuple(roles))
