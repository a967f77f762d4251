"""Parsing of weights and comma-separated lists."""

from __future__ import annotations


def listed(names: str | None) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in names.split(",")] if names else []


def parse_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Parse NAME=FACTOR texts; several factors of one name are multiplied.

    Raises:
        UsageError: if FACTOR is not a number.
    """
    from qubastore.errors import UsageError

    weights: dict[str, float] = {}
    for text in texts:
        name, equals, factor = text.partition("=")
        try:
            value = float(factor)
        except ValueError:
            raise UsageError(
                f"--weight {text} is not NAME=FACTOR",
                expected="a number from 0 up after the =",
                found=repr(factor) if equals else "no =",
                hint=f"--weight {name or 'calibration'}=2",
            ) from None
        weights[name] = weights.get(name, 1.0) * value
    return weights
