"""Pairs of published models that differ in one respect, for the study's comparisons of groups.

The QUBA study (arXiv 2503.17110) compares groups of models over pairs, but does not publish the pairs. Those in
`published/pairs.csv` are our choice: two models of its table with the same backbone, or the most similar one available,
and what else differs between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from qubastore.published import read_table

COMPARISONS = {
    "adversarial-training": ("supervised", "adversarially trained"),
    "self-supervised-end-to-end": ("supervised", "self-supervised, fine-tuned end to end"),
    "self-supervised-linear-probe": ("supervised", "self-supervised, linear probe"),
    "linear-probe": ("self-supervised, fine-tuned end to end", "the same, linear probe"),
    "semi-supervised": ("supervised", "semi-supervised, on far more images"),
    "vision-language": ("supervised", "vision-language, zero-shot"),
    "imagenet-21k": ("trained on ImageNet-1k", "pretrained on ImageNet-21k"),
    "transformer": ("convolutional", "transformer of one size"),
    "b-cos": ("standard", "B-cos"),
    "recipe-a1": ("first recipe", "A1"),
    "recipe-a2": ("first recipe", "A2"),
    "recipe-a3": ("first recipe", "A3"),
    "recipe-a1-a2": ("A1", "A2"),
    "recipe-a1-a3": ("A1", "A3"),
    "recipe-a2-a3": ("A2", "A3"),
}
"""Comparison -> descriptions of its first and its second group of models."""


@dataclass(frozen=True)
class StudyPair:
    """Two models of the published table.

    Attributes:
        comparison: One of `COMPARISONS`.
        model_a: Name of the first model in the published table.
        model_b: Name of the second model in the published table.
        backbone: The backbone that they share.
        differs: What else differs, apart from the subject of the comparison; empty if nothing is known to.
    """

    comparison: str
    model_a: str
    model_b: str
    backbone: str
    differs: str


@cache
def read_pairs() -> tuple[StudyPair, ...]:
    """All pairs, grouped by comparison."""
    return tuple(StudyPair(**row) for row in read_table("pairs"))
