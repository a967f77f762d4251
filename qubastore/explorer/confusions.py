"""Class by class: which classes a model takes for which, or the difference between two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qubastore.errors import UsageError
from qubastore.explorer.selection import NAMES, Selection
from qubastore.lake.database import Database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]


def confusions(store: Database, selection: Selection) -> Json:
    """How often each class is answered for the images of each.

    With two runs, `n` and `other` are the counts of a and of b, over the images that both answered.

    Args:
        store: An open store.
        selection: The images; its first one or two runs are compared.

    Returns:
        `cells`: [label, prediction, n] or [label, prediction, n, other], only where there is one; `order`: the classes
        that occur, similar ones side by side; `sql`: the query.

    Raises:
        UsageError: If no image has a label.
    """
    names = NAMES[: min(2, len(selection.runs))]
    queries = [
        selection.query(f"a.label, {name}.prediction, {', '.join(_counted(name, names))}")
        + "\ngroup by all\nhaving a.label is not null"
        for name in names
    ]
    query = "\n\nunion all\n\n".join(f"from (\n{each}\n)" for each in queries)
    sums = ", ".join(f"sum({name})::bigint as {name}" for name in names)
    query = f"select label, prediction, {sums}\nfrom (\n{query}\n)\ngroup by all\norder by all"
    cells = [list(row) for row in store.rows(query)]
    if not cells:
        raise UsageError("no image of this selection has a label", hint="choose other images, or another run")
    return {"cells": cells, "order": ordered(cells), "sql": query}


def _counted(name: str, names: str) -> list[str]:
    return [f"{'count(*)' if each == name else '0'} as {each}" for each in names]


def ordered(cells: Sequence[Sequence[int]]) -> list[int]:
    """The classes of a confusion matrix, those that are taken for one another side by side.

    Average linkage over 1 - the share of both classes' images that is confused between the two; leaves in the order of
    the tree, which is the same each time.
    """
    import numpy as np
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    classes = sorted({int(each) for cell in cells for each in cell[:2]})
    if len(classes) < 3:
        return classes
    place = {each: i for i, each in enumerate(classes)}
    counts: NDArray[np.float64] = np.zeros((len(classes), len(classes)))
    for label, prediction, *numbers in cells:
        counts[place[int(label)], place[int(prediction)]] += sum(numbers)
    totals = counts.sum(axis=1)
    both = totals[:, None] + totals[None, :]
    confused = (counts + counts.T) / np.where(both > 0, both, 1)
    np.fill_diagonal(confused, 1)
    distances = squareform(np.clip(1 - confused, 0, 1), checks=False)
    return [classes[i] for i in leaves_list(linkage(distances, "average"))]
