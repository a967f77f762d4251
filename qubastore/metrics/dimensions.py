"""The nine quality dimensions of the QUBA study: definition, direction, default weight, constants, aliases.

Source of definitions, weights and constants: Hesse et al., "Beyond Accuracy: What Matters in Designing Well-Behaved
Image Classification Models?", TMLR 2026, arXiv 2503.17110. The constants are the mean and population standard
deviation of each dimension over the 326 published rows after dropping the 32 smallest and the 32 largest values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qubastore.errors import check_name


@dataclass(frozen=True)
class Dimension:
    """One of the nine quality dimensions.

    Attributes:
        name: Name in every table.
        title: Short heading in terminal tables.
        meaning: Definition in one line.
        better: `up` or `down`.
        default_weight: Weight in QUBA before `--weight` multiplies it.
        published_mean: Mean that the study normalises with.
        published_std: Standard deviation that the study normalises with.
        aliases: Other names that `--weight` accepts, including names of groups.
        roles: The roles in a suite from whose runs the value is computed; empty if it needs no run.
        unit: Unit or range.
    """

    name: str
    title: str
    meaning: str
    better: str
    default_weight: float
    published_mean: float
    published_std: float
    aliases: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    unit: str = "0 to 1"

    @property
    def column(self) -> str:
        """The column of the dimension in the view `rankable` and in published tables."""
        return "parameters_m" if self.name == "parameters" else self.name

    def shown(self, value: float) -> str:
        """A value formatted for tables: in per cent, or in millions."""
        if self.unit == "millions":
            return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
        return f"{100 * value:.{2 if self.name == 'calibration_error' else 1}f}"


DIMENSIONS = (
    Dimension(
        "accuracy",
        "accuracy",
        "top-1 accuracy on the clean set",
        "up",
        1,
        0.7990557251908397,
        0.034685710545946026,
        ("acc",),
        ("clean",),
    ),
    Dimension(
        "adversarial_robustness",
        "adversarial",
        "geometric mean of the accuracies under FGSM and PGD relative to clean accuracy",
        "up",
        1 / 3,
        0.18583778826016084,
        0.11083062192390095,
        ("adversarial", "robustness"),
        ("clean", "adversarial"),
    ),
    Dimension(
        "corruption_robustness",
        "corruption",
        "mean accuracy over 15 corruptions x 5 severities relative to clean accuracy",
        "up",
        1 / 3,
        0.5298791080592711,
        0.23383978329969085,
        ("corruption", "robustness"),
        ("clean", "corrupted"),
        unit="0 and up",
    ),
    Dimension(
        "ood_robustness",
        "ood",
        "geometric mean of the accuracies on five shifted sets relative to clean accuracy",
        "up",
        1 / 3,
        0.5664841617855405,
        0.14548627504237352,
        ("ood", "robustness"),
        ("clean", "shifted"),
        unit="0 and up",
    ),
    Dimension(
        "calibration_error",
        "calibration",
        "geometric mean of ECE and ACE on the clean set",
        "down",
        1,
        0.004479927389289115,
        0.0026752085291489288,
        ("calibration",),
        ("clean",),
    ),
    Dimension(
        "class_balance",
        "balance",
        "geometric mean of 1 - spread of class accuracy and 1 - spread of the true class's probability",
        "up",
        1,
        0.783356376851669,
        0.024047971612660052,
        ("balance", "fairness"),
        ("clean",),
    ),
    Dimension(
        "object_focus",
        "focus",
        "1 - (accuracy on same - on random backgrounds) / clean accuracy",
        "up",
        1 / 2,
        0.9286352601551336,
        0.017724144886557092,
        ("focus",),
        ("clean", "same_background", "random_background"),
        unit="up to 1",
    ),
    Dimension(
        "shape_bias",
        "shape",
        "shape decisions / (shape + texture decisions) on cue-conflict images",
        "up",
        1 / 2,
        0.30548520497464765,
        0.08354531823072534,
        ("shape",),
        ("cue_conflict",),
    ),
    Dimension(
        "parameters",
        "params",
        "number of parameters",
        "down",
        1,
        55.28778625954198,
        42.8890536095964,
        ("params", "size"),
        unit="millions",
    ),
)


DIMENSION_NAMES: dict[str, tuple[str, ...]] = {}
"""Every name that `--weight` accepts -> the dimensions that it covers."""


for _dimension in DIMENSIONS:
    for _name in (_dimension.name, *_dimension.aliases):
        DIMENSION_NAMES[_name] = (*DIMENSION_NAMES.get(_name, ()), _dimension.name)


def named_dimensions(names: Sequence[str]) -> list[Dimension]:
    """The dimensions that the given names, aliases and groups cover, each once, in the order of `DIMENSIONS`.

    Raises:
        UsageError: on an unknown name, with similar ones.
    """
    known = [check_name("dimension", name, DIMENSION_NAMES) for name in names]
    meant = {dimension for name in known for dimension in DIMENSION_NAMES[name]}
    return [dimension for dimension in DIMENSIONS if dimension.name in meant]
