"""What remains, and how right it is, if a model answers only where it is confident."""

from __future__ import annotations

from typing import Any

from qubastore.errors import UsageError
from qubastore.explorer.selection import Selection
from qubastore.lake.database import Database

STEPS = 1000
"""Number of thresholds between 0 and 1."""


def thresholds(store: Database, selection: Selection) -> dict[str, Any]:
    """Coverage and accuracy at every threshold 0, 1/1000, ..., 1 on the confidence of run a.

    An answer is kept where its confidence is at least the threshold.

    Returns:
        `kept`, `right`: numbers of answers, one per threshold; `n`: all answers with a confidence; `sql`: the query.

    Raises:
        UsageError: If no answer has a confidence, or none can be right or wrong.
    """
    # The step of a confidence is the largest threshold that it reaches; 0.29 * 1000 is not 290, so it is compared.
    bin_ = f"least({STEPS}, floor(a.confidence * {STEPS})::int)"
    exact = f"{bin_} + (a.confidence >= ({bin_} + 1) / {STEPS})::int - (a.confidence < {bin_} / {STEPS})::int"
    query = (
        "select step, count(*) as n, count(*) filter (where is_right) as n_right\nfrom (\n"
        + selection.query(f"{exact} as step, a.confidence, a.is_right")
        + "\n)\nwhere confidence is not null and is_right is not null\ngroup by step\norder by step"
    )
    kept, right = [0] * (STEPS + 1), [0] * (STEPS + 1)
    for step, n, n_right in store.rows(query):
        kept[step], right[step] = n, n_right
    for step in reversed(range(STEPS)):
        kept[step] += kept[step + 1]
        right[step] += right[step + 1]
    if not kept[0]:
        raise UsageError(
            "no answer of this selection has both a confidence and a label",
            expected="a run over images with labels, with confidences",
            hint="choose another run",
        )
    return {"kept": kept, "right": right, "n": kept[0], "sql": query}
