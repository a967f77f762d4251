"""Which images a page shows: read from its address, and written as one SQL query that anybody can run again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qubastore.errors import UsageError, check_name
from qubastore.lake.ducklake import quote

NAMES = "abc"
"""What the chosen runs are called in queries and addresses."""
RIGHT = ("any", "right", "wrong")
AGREE = ("any", "same", "differ")
SORTS = {
    "sample": "a.sample_id",
    "confidence": "a.confidence",
    "loss": "a.loss",
    "margin": "a.margin",
    "disagreement": "",
}
"""Sort order of images -> the expression; the disagreement depends on the chosen runs."""
MOST = 500
"""Maximum number of images per answer."""


@dataclass(frozen=True)
class Selection:
    """Images of one dataset, chosen by what up to three runs over it answered.

    Attributes:
        runs: Ids of one to three runs over the same dataset: a, b and c.
        right: For each run, one of `RIGHT`.
        agree: One of `AGREE`: whether all runs give the same answer.
        label: The right class; None means any.
        prediction: The answer of run a; None means any.
        low: Smallest confidence of run a, included.
        high: Largest confidence of run a, included.
        below: What the confidence of run a must be less than.
        factors: Factor -> value that the image must have.
        search: Text that the key must contain, without regard to case.
        only: Ids of samples; None means all.
        sort: One of `SORTS`.
        descending: Whether the largest come first.
    """

    runs: tuple[str, ...]
    right: tuple[str, ...] = ()
    agree: str = "any"
    label: int | None = None
    prediction: int | None = None
    low: float | None = None
    high: float | None = None
    below: float | None = None
    factors: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    only: Sequence[int] | None = None
    sort: str = "sample"
    descending: bool = False

    def conditions(self) -> list[str]:
        """The conditions on the images, as SQL over the runs' answers a, b and c."""
        names = NAMES[: len(self.runs)]
        found = []
        for name, right in zip(names, self.right, strict=False):
            if right != "any":
                found.append(f"{name}.is_right" if right == "right" else f"not {name}.is_right")
        others = [f"{name}.prediction" for name in names[1:]]
        if others and self.agree == "same":
            found += [f"{other} = a.prediction" for other in others]
        elif others and self.agree == "differ":
            pairs = [
                f"{one}.prediction <> {other}.prediction" for i, one in enumerate(names) for other in names[i + 1 :]
            ]
            found.append(pairs[0] if len(pairs) == 1 else f"({' or '.join(pairs)})")
        if self.label is not None:
            found.append(f"a.label = {self.label}")
        if self.prediction is not None:
            found.append(f"a.prediction = {self.prediction}")
        if self.low is not None:
            found.append(f"a.confidence >= {self.low!r}")
        if self.high is not None:
            found.append(f"a.confidence <= {self.high!r}")
        if self.below is not None:
            found.append(f"a.confidence < {self.below!r}")
        found += [f"samples.factors[{quote(factor)}] = {quote(value)}" for factor, value in self.factors.items()]
        if self.search:
            found.append(f"contains(lower(samples.key), {quote(self.search.lower())})")
        if self.only is not None:
            found.append(f"a.sample_id in ({', '.join(map(str, self.only)) or 'null'})")
        return found

    def query(self, columns: str, *, limit: int | None = None, offset: int = 0) -> str:
        """The query for the images.

        Args:
            columns: What to select of a, b, c and the table samples.
            limit: Maximum number of rows, in the selection's order; None means no order and all rows.
            offset: Number of rows to leave out before these.
        """
        names = NAMES[: len(self.runs)]
        answers = ",\n".join(
            f"{name} as (from sample_answers where run_id = {quote(run)})"
            for name, run in zip(names, self.runs, strict=True)
        )
        joins = "".join(f"\njoin {name} using (dataset_id, sample_id)" for name in names[1:])
        conditions = self.conditions()
        where = "\nwhere " + "\n    and ".join(conditions) if conditions else ""
        if "samples." in f"{columns}{where}":
            joins += "\njoin samples on samples.dataset_id = a.dataset_id and samples.sample_id = a.sample_id"
        order = "" if limit is None else f"\norder by {self._order()}\nlimit {limit}"
        skipped = f" offset {offset}" if limit is not None and offset else ""
        return f"with\n{answers}\n\nselect {columns}\nfrom a{joins}{where}{order}{skipped}"

    def _order(self) -> str:
        names = NAMES[: len(self.runs)]
        by = SORTS[self.sort]
        if self.sort == "disagreement":
            given = ", ".join(f"{name}.label_probability" for name in names)
            # greatest and least ignore nulls, the sum does not: what one model does not say has no disagreement.
            by = f"greatest({given}) - least({given}) + 0 * ({given.replace(', ', ' + ')})"
        direction = " desc" if self.descending else ""
        return f"{by}{direction}" if self.sort == "sample" else f"{by}{direction} nulls last, a.sample_id"


def read_selection(given: Sequence[tuple[str, str]]) -> Selection:
    """Read a selection from the parameters of an address; parameters of other things are ignored.

    Raises:
        UsageError: If a parameter is not valid; the error names it.
    """
    words = dict(given)
    chosen = [name for name in NAMES if words.get(name)]
    runs = [words[name] for name in chosen]
    if not runs or not words.get("a"):
        raise UsageError("no run is chosen", expected="a=RUN in the address", hint="choose a model")
    for run in runs:
        _check_id(run)
    right = [check_name("choice", words.get(f"{name}_is") or "any", RIGHT) for name in chosen]
    sort = check_name("sort order", words.get("sort") or "sample", tuple(SORTS))
    if sort == "disagreement" and len(runs) < 2:
        raise UsageError("one model cannot disagree", expected="two or three models", hint="choose model B")
    factors = {}
    for name, value in given:
        if name == "factor":
            key, equals, wanted = value.partition("=")
            if not equals:
                raise UsageError(f"factor={value!r} has no value", expected="factor=NAME=VALUE, as in factor=pose=side")
            factors[key] = wanted
    return Selection(
        tuple(runs),
        tuple(right),
        check_name("choice", words.get("agree") or "any", AGREE),
        _whole(words, "label"),
        _whole(words, "prediction"),
        _share(words, "low"),
        _share(words, "high"),
        _share(words, "below"),
        factors,
        words.get("search", ""),
        sort=sort,
        descending=words.get("order") == "desc",
    )


def _check_id(run: str) -> None:
    if not run.isalnum() or not run.isascii():
        raise UsageError(f"{run!r} is not the id of a run", expected="an id as in qubastore show runs")


def is_whole(text: str) -> bool:
    """Whether a text is a whole number from 0 up, as ids and classes are."""
    return text.isascii() and text.isdigit() and len(text) < 10


def _whole(words: Mapping[str, str], name: str) -> int | None:
    text = words.get(name, "")
    if not text:
        return None
    if not is_whole(text):
        raise UsageError(f"{name}={text!r} is not a class", expected="its number, from 0 up")
    return int(text)


def _share(words: Mapping[str, str], name: str) -> float | None:
    text = words.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={text!r} is not a confidence", expected="a number from 0 to 1")
    return value
