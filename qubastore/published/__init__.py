"""Published tables that the package carries, as data with their source.

`hesse2025.csv`: the 326 models of "Beyond Accuracy: What Matters in Designing Well-Behaved Image Classification
Models?" (Hesse et al., TMLR 2026, arXiv 2503.17110), from the project page of the study. `zoo.csv`: what loads each of
them. `pairs.csv`: the pairs that its comparisons are over. `known_differences.csv` and `difference_causes.csv`: which
of its figures are wrong, or measured by another procedure, and why.
"""

from __future__ import annotations

import csv
from importlib.resources import files

SOURCE = "hesse2025"
"""The source of published figures, and the name of their table."""


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a table of this folder, column -> text.

    Args:
        name: Its file's name without `.csv`.
    """
    with files("qubastore.published").joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
