"""Conditions (how inputs are altered), framings (how images become inputs) and precisions, with canonical names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from qubastore.errors import UsageError, check_name

CLEAN = "clean"

PARAMETERS: dict[str, dict[str, str]] = {
    CLEAN: {},
    "fgsm": {"eps": "8/255"},
    "pgd": {"eps": "8/255", "alpha": "2/255", "steps": "10", "start": "random"},
}
"""Kind of condition -> its parameters with their defaults, those of the QUBA study (arXiv 2503.17110)."""

FRAMINGS = ("model", "whole")
"""`model`: the model's own resize and crop. `whole`: the whole image resized to the input size, nothing cropped."""

SIGNIFICANT_BITS = {"fp32": 16, "fp16": 11, "bf16": 8}
"""Precision of the forward pass -> significant bits to which kept logits and features are rounded.

fp16 and bf16 results carry no more; for fp32, 16 bits move a logit by at most 2^-16 of itself.
"""

PRECISIONS = tuple(SIGNIFICANT_BITS)

_STARTS = ("random", "image")


@dataclass(frozen=True)
class Condition:
    """How inputs are altered before the model sees them.

    Attributes:
        kind: `clean`, `fgsm` or `pgd`.
        parameters: Name -> value as canonical text.
    """

    kind: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `fgsm`, `fgsm(eps=4/255)`, `pgd(steps=20, start=image)`; what is left out takes its default.

        Raises:
            UsageError: on an unknown kind or parameter, or a value out of range.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
        if match is None:
            raise UsageError(
                f"{text!r} is no condition", expected="KIND or KIND(NAME=VALUE, ...)", hint="fgsm(eps=8/255)"
            )
        kind = check_name("condition", match[1], tuple(PARAMETERS))
        values = dict(PARAMETERS[kind])
        for pair in filter(None, (part.strip() for part in (match[2] or "").split(","))):
            name, equals, value = (part.strip() for part in pair.partition("="))
            check_name(f"parameter of {kind}", name, tuple(values))
            if not equals:
                raise UsageError(f"{text!r}: {name} has no value", hint=f"{kind}({name}={values[name]})")
            values[name] = _canonical(name, value, text)
        return cls(kind, values)

    def __str__(self) -> str:
        listed = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.kind}({listed})" if listed else self.kind

    def number(self, name: str) -> float:
        """A parameter as a float: eps and alpha of 1, not of 255."""
        return float(Fraction(self.parameters[name]))

    @property
    def is_attack(self) -> bool:
        """Whether it needs the model's gradients and the right labels."""
        return self.kind != CLEAN


def _canonical(name: str, value: str, text: str) -> str:
    if name == "start":
        return check_name("start of pgd", value, _STARTS)
    try:
        number = Fraction(value)
    except (ValueError, ZeroDivisionError):
        number = Fraction(-1)
    if name == "steps":
        if number.denominator != 1 or number < 1:
            raise UsageError(f"{text!r}: steps is {value}", expected="a whole number from 1 up")
        return str(number)
    if not 0 < number <= 1:
        raise UsageError(f"{text!r}: {name} is {value}", expected="a number above 0 and up to 1, such as 8/255")
    # 8/255 and 16/510 are one condition; 255ths are how the field writes them.
    return f"{number * 255}/255" if (number * 255).denominator == 1 else str(number)
