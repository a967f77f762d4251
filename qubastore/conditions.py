"""Conditions (how inputs are altered), framings (how images become inputs) and precisions, with canonical names."""

from __future__ import annotations

from qubastore.errors import UsageError, did_you_mean

CONDITIONS = ("clean",)
FRAMINGS = ("model",)

SIGNIFICANT_BITS = {"fp32": 16, "fp16": 11, "bf16": 8}
"""Precision of the forward pass -> significant bits to which kept logits and features are rounded.

fp16 and bf16 results carry no more; for fp32, 16 bits move a logit by at most 2^-16 of itself.
"""

PRECISIONS = tuple(SIGNIFICANT_BITS)


def check_name(kind: str, name: str, known: tuple[str, ...]) -> str:
    """`name` if it is known.

    Raises:
        UsageError: naming what is known.
    """
    if name not in known:
        raise UsageError(
            f"unknown {kind} {name!r}", expected=f"one of {', '.join(known)}", hint=did_you_mean(name, known)
        )
    return name
