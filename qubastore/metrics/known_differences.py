"""Known differences of the published table: figures that are wrong, or measured by another procedure.

`known_differences.csv` has a row per model, dimension and difference; `difference_causes.csv` describes each kind of
difference and the evidence for it; docs/published.md has the rules that mark rows. The view `published_differences`
joins them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.published import read_table

FAULT = "fault"


PROTOCOL = "protocol"


PREPROCESSING = "preprocessing"
"""The difference that disappears only if a model is measured with the study's preprocessing."""


FRAMING = "framing"
"""The difference that disappears if a suite resizes and crops every image as the study does."""


@dataclass(frozen=True)
class Cause:
    """A kind of difference between the published table and measured figures.

    Attributes:
        what: Its short name.
        kind: `fault`, a wrong number, or `protocol`, another procedure.
        divisor: Whether it also affects the clean accuracy that relative figures are divided by.
        says: Description in one line.
        evidence: Where it is in the study's released code, and how figures show it.
    """

    what: str
    kind: str
    divisor: bool
    says: str
    evidence: str


@dataclass(frozen=True)
class Difference:
    """A figure of the published table that one cause is known or likely to have changed.

    Attributes:
        model: Name in the published table.
        dimension: Name of the dimension.
        cause: The cause of the difference.
        certainty: `shown` if code and figure agree, else `likely`.
        detail: How large it is, or which of several variants; empty if unknown.
        reproduced_in: Built-in suites that follow the study here, so that figures measured in them do not differ.
    """

    model: str
    dimension: str
    cause: Cause
    certainty: str
    detail: str
    reproduced_in: tuple[str, ...]

    @property
    def divisor(self) -> bool:
        """Whether the accuracy that this figure is divided by is also affected."""
        return self.cause.divisor and self.dimension in _RELATIVE

    @property
    def reason(self) -> str:
        """The explanation for the reader."""
        more = "; ".join(text for text in (self.detail, "so is its divisor" if self.divisor else "") if text)
        likely = "likely " if self.certainty == "likely" else ""
        return f"{likely}{self.cause.says}" + (f" ({more})" if more else "")


_RELATIVE = frozenset(d.name for d in DIMENSIONS if "clean" in d.roles and len(d.roles) > 1)
"""Dimensions that are divided by clean accuracy."""


@cache
def difference_causes() -> dict[str, Cause]:
    """Every cause of differences, by its short name."""
    return {
        row["what"]: Cause(row["what"], row["kind"], row["divisor"] == "yes", row["says"], row["evidence"])
        for row in read_table("difference_causes")
    }


@cache
def known_differences() -> tuple[Difference, ...]:
    """Every known difference of the published table, in the table's order."""
    causes = difference_causes()
    return tuple(
        Difference(
            row["model"],
            row["dimension"],
            causes[row["what"]],
            row["certainty"],
            row["detail"],
            tuple(row["reproduced_in"].split()),
        )
        for row in read_table("known_differences")
    )


@cache
def _by_model() -> dict[str, tuple[Difference, ...]]:
    found: dict[str, list[Difference]] = {}
    for difference in known_differences():
        found.setdefault(difference.model, []).append(difference)
    return {model: tuple(differences) for model, differences in found.items()}


def differences_of(model: str, kind: str | None = None) -> tuple[Difference, ...]:
    """The known differences of a model in the published table, of one kind or of both."""
    return tuple(each for each in _by_model().get(model, ()) if kind in (None, each.cause.kind))


def known_faults(model: str) -> dict[str, str]:
    """Dimension -> why the published figure is known or likely to be wrong; empty for models not in the table."""
    return reasons(differences_of(model, FAULT))


def reasons(differences: Iterable[Difference]) -> dict[str, str]:
    """Dimension -> the reasons for its differences, joined into one text."""
    found: dict[str, str] = {}
    for each in differences:
        before = found.get(each.dimension)
        found[each.dimension] = f"{before}; {each.reason}" if before else each.reason
    return found
