"""Slices: groups of images on which a model does worse or better, by what is known of them and by its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qubastore.errors import UsageError
from qubastore.explorer.selection import Selection
from qubastore.lake.database import Database
from qubastore.statistics.crossed import wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]

LEVEL = 0.95
FOUND = 20
"""Number of slices that are looked for."""
CLUSTERS = 20
"""Number of clusters of features."""
VALUES = 200
"""Number of values above which a factor does not make slices."""
SMALLEST = 10
"""Number of images below which a group is not looked for."""


def with_interval(n_right: int, n: int) -> Json:
    """Accuracy of a group, with Wilson's interval at 95 % (Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    import numpy as np
    from scipy.special import ndtri

    z = float(ndtri(0.5 + LEVEL / 2))
    low, high = wilson(n_right / n, n, np.array([-z, z]))
    return {"n": n, "n_right": n_right, "accuracy": n_right / n, "low": float(low), "high": float(high)}


def factor_slices(store: Database, selection: Selection) -> list[Json]:
    """Accuracy of run a by factor and value, over the images of a selection that have labels.

    Factors with more than `VALUES` values, such as captions, are left out.

    Returns:
        One mapping per factor and value: factors, n, n_right, accuracy, low, high.
    """
    query = (
        "select known.key, known.value, count(*) as n, count(*) filter (where is_right)\nfrom (\n"
        + selection.query("unnest(map_entries(samples.factors)) as known, a.is_right")
        + "\n)\nwhere is_right is not null\ngroup by known.key, known.value"
        + f"\nqualify count(*) over (partition by known.key) <= {VALUES}\norder by all"
    )
    return [{"factors": {key: value}, **with_interval(right, n)} for key, value, n, right in store.rows(query)]


def found_slices(store: Database, selection: Selection) -> list[Json]:
    """Combinations of up to three factors with many errors of run a, by SliceLine; the class is a factor, too.

    Source: Sagadeeva and Boehm, SliceLine, SIGMOD 2021, with alpha 0.95 and at least `SMALLEST` images per slice.

    Raises:
        UsageError: If the package sliceline is not installed, or no image has a label.
    """
    try:
        from sliceline import Slicefinder
    except ImportError:
        raise UsageError("finding slices needs the package sliceline", hint="pip install 'qubastore[view]'") from None
    import numpy as np

    rows = store.rows(selection.query("samples.factors, a.label, a.is_right"))
    rows = [row for row in rows if row[2] is not None]
    if not rows:
        raise UsageError("no image of this selection has a label", hint="choose another run")
    names = sorted({name for factors, _, _ in rows for name in factors})
    columns = [[str(factors.get(name, "")) for factors, _, _ in rows] for name in names]
    few = [len(set(column)) <= VALUES for column in columns]
    columns = [column for column, is_few in zip(columns, few, strict=True) if is_few]
    names = [name for name, is_few in zip(names, few, strict=True) if is_few]
    columns.append([str(label) for _, label, _ in rows])
    errors = np.array([0.0 if right else 1.0 for _, _, right in rows])
    if not errors.any():
        return []
    finder = Slicefinder(alpha=0.95, k=FOUND, max_l=3, min_sup=SMALLEST, verbose=False)
    table = np.array(columns, dtype=object).T
    finder.fit(table, errors)
    found = []
    for slice_ in finder.top_slices_:
        chosen = [i for i, value in enumerate(slice_) if value is not None]
        if any(slice_[i] == "" for i in chosen):
            continue  # of images without that factor, which is no property of them
        inside = np.all([table[:, i] == slice_[i] for i in chosen], axis=0)
        part: Json = {"factors": {names[i]: str(slice_[i]) for i in chosen if i < len(names)}}
        if len(names) in chosen:
            part["label"] = int(slice_[len(names)])
        n = int(inside.sum())
        found.append({**part, **with_interval(n - int(errors[inside].sum()), n)})
    return found


def clusters(vectors: NDArray[np.float32], count: int = CLUSTERS) -> NDArray[np.int32]:
    """The cluster of each image in a model's features: k-means over vectors of length 1, seed 0.

    Args:
        vectors: (n, width) float32, of length 1.
        count: Number of clusters; fewer where there are fewer than `SMALLEST` images for each.

    Returns:
        (n,) int32.
    """
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    count = max(1, min(count, len(vectors) // SMALLEST))
    made = MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=1024).fit(vectors)
    return np.asarray(made.labels_, dtype=np.int32)


def cluster_slices(
    store: Database, selection: Selection, ids: NDArray[np.int32], cluster_of: NDArray[np.int32]
) -> list[Json]:
    """Accuracy of run a by cluster, the lowest first, with the most frequent classes of each."""
    number = dict(zip(map(int, ids), map(int, cluster_of), strict=True))
    rows = store.rows(selection.query("a.sample_id, a.label, a.is_right"))
    groups: dict[int, list[tuple[int, bool]]] = {}
    for sample_id, label, right in rows:
        if right is not None and sample_id in number:
            groups.setdefault(number[sample_id], []).append((label, right))
    found = []
    for each, members in groups.items():
        labels = [label for label, _ in members]
        common = sorted(set(labels), key=lambda label: (-labels.count(label), label))[:3]
        found.append(
            {"cluster": each, "labels": common, **with_interval(sum(right for _, right in members), len(members))}
        )
    return sorted(found, key=lambda row: (row["accuracy"], row["cluster"]))
