"""Published tables that are part of the package, with their sources.

`hesse2025.csv`: the 326 models of "Beyond Accuracy: What Matters in Designing Well-Behaved Image Classification
Models?" (Hesse et al., TMLR 2026, arXiv 2503.17110), from the study's project page. `zoo.csv`: the spec that loads each
of them. `pairs.csv`: the pairs of models that the study compares. `known_differences.csv` and `difference_causes.csv`:
which of its figures are wrong, or measured by another procedure, and why.
"""

from __future__ import annotations

import csv
from importlib.resources import files

SOURCE = "hesse2025"
"""The source of the published figures, and the name of their table."""


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a table in this folder, each as column -> text.

    Args:
        name: The file name without `.csv`.
    """
    with files("qubastore.published").joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
