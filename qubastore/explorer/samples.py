"""The images of a selection, and everything that is known of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qubastore.errors import UsageError
from qubastore.explorer.selection import MOST, NAMES, Selection
from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.runs.vectors import kept_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]

_OF_ANSWER = ("prediction", "is_right", "confidence", "label_probability", "loss", "margin")
NEIGHBOURS = 24
"""Number of nearest images that a sample's page shows."""
RUNS_OF_SAMPLE = 60
"""Number of runs whose answers a sample's page shows unless all are asked for."""


def samples(store: Database, selection: Selection, *, limit: int, offset: int) -> Json:
    """The images of a selection, in its order.

    Args:
        store: An open store.
        selection: Which images.
        limit: Maximum number of images, at most `MOST`.
        offset: Number of images to leave out before these.

    Returns:
        `n`: number of images of the selection; `rows`: dataset_id, sample_id, key, label and the answers of its runs;
        `sql`: the query.
    """
    names = NAMES[: len(selection.runs)]
    limit = min(limit, MOST)
    columns = "a.dataset_id, a.sample_id, a.label, " + ", ".join(
        f"{name}.{column} as {name}_{column}" for name in names for column in _OF_ANSWER
    )
    # The keys are looked up afterwards: joining all samples would take as long again.
    found = store.records(selection.query(f"count(*) over () as n, {columns}", limit=limit, offset=offset))
    if found:
        n, keys = found[0]["n"], _keys(store, found[0]["dataset_id"], [row["sample_id"] for row in found])
    else:
        n, keys = store.rows(selection.query("count(*)"))[0][0] if offset else 0, {}
    rows = [
        {
            **{column: row[column] for column in ("dataset_id", "sample_id", "label")},
            "key": keys[row["sample_id"]],
            "answers": [{column: row[f"{name}_{column}"] for column in _OF_ANSWER} for name in names],
        }
        for row in found
    ]
    return {"n": n, "rows": rows, "sql": selection.query(f"samples.key, {columns}", limit=limit, offset=offset)}


def _keys(store: Database, dataset_id: str, sample_ids: Sequence[int]) -> dict[int, str]:
    return dict(
        store.rows(
            f"select sample_id, key from samples where {is_one_of('dataset_id', [dataset_id])}"
            f" and sample_id in ({', '.join(map(str, sample_ids))})"
        )
    )


def sample(store: Database, dataset_id: str, sample_id: int, runs: Sequence[str], *, every: bool) -> Json:
    """What is known of an image: labels, factors, the answers of models, and its variants.

    Args:
        store: An open store.
        dataset_id: Its dataset.
        sample_id: The sample.
        runs: Ids of runs whose answers come first.
        every: Whether to return the answers of all runs; else of at most `RUNS_OF_SAMPLE`.

    Raises:
        UsageError: If the store has no such image.
    """
    rows = store.records(
        "select samples.*, datasets.name as dataset, datasets.classes, datasets.root"
        " from samples join datasets using (dataset_id) where samples.dataset_id = ? and samples.sample_id = ?",
        [dataset_id, sample_id],
    )
    if not rows:
        raise UsageError(f"the store has no image {sample_id} of a dataset {dataset_id!r}")
    known = rows[0]
    classes = known.pop("classes")
    labels = store.rows(
        "select label_set, labels from label_sets where dataset_id = ? and sample_id = ? order by label_set",
        [dataset_id, sample_id],
    )
    over = store.rows(
        "select runs.run_id from run_summary join runs using (run_id) where dataset_id = ?"
        " order by list_contains(?, runs.run_id) desc, runs.condition = 'clean' desc, runs.condition, runs.run_id",
        [dataset_id, list(runs)],
    )
    chosen = [row[0] for row in over][: None if every else max(RUNS_OF_SAMPLE, len(runs))]
    return {
        **known,
        "labels": {name: [{"class": each, "name": _name(classes, each)} for each in given] for name, given in labels},
        "n_runs": len(over),
        "answers": _answers(store, chosen, sample_id, classes, runs),
        "variants": _variants(store, dataset_id, known["key"], runs),
    }


def _answers(
    store: Database, runs: Sequence[str], sample_id: int, classes: Sequence[str], first: Sequence[str]
) -> list[Json]:
    if not runs:
        return []
    found = store.records(
        f"""
        select
            runs.run_id, model_names.model, runs.condition, runs.framing, runs.precision, outputs.prediction,
            outputs.prediction = outputs.label as is_right, outputs.confidence, outputs.label_probability,
            outputs.top5_class, list_transform(outputs.top5_logit, lambda x: exp(x - outputs.logsumexp)) as top5
        from outputs join runs using (run_id) join model_names using (model_id)
        where {is_one_of("outputs.run_id", runs)} and outputs.sample_id = ?
        order by runs.condition = 'clean' desc, runs.condition, model_names.model, runs.run_id
        """,
        [sample_id],
    )
    order = {run: place for place, run in enumerate(first)}
    found.sort(key=lambda row: order.get(row["run_id"], len(order)))
    for row in found:
        tops = zip(row.pop("top5_class") or (), row.pop("top5") or (), strict=False)
        row["prediction_name"] = _name(classes, row["prediction"])
        row["top5"] = [{"class": each, "name": _name(classes, each), "probability": p} for each, p in tops]
    return found


def _variants(store: Database, dataset_id: str, key: str, runs: Sequence[str]) -> list[Json]:
    """The same key in other datasets, as in ImageNet-C, with the answers there of the chosen runs' models."""
    found = store.records(
        """
        select samples.dataset_id, samples.sample_id, datasets.name as dataset
        from samples join datasets using (dataset_id)
        where samples.key = ? and samples.dataset_id <> ?
            and datasets.label_space = (select label_space from datasets where dataset_id = ?)
            and samples.dataset_id in (select runs.dataset_id from run_summary join runs using (run_id))
        order by datasets.name, samples.dataset_id
        """,
        [key, dataset_id, dataset_id],
    )
    if not found or not runs:
        return [{**each, "answers": []} for each in found]
    answers = store.records(
        f"""
        select runs.dataset_id, outputs.sample_id, model_names.model, outputs.prediction = outputs.label as is_right,
            outputs.confidence, datasets.classes[outputs.prediction + 1] as prediction_name
        from outputs join runs using (run_id) join run_summary using (run_id) join model_names using (model_id)
        join datasets using (dataset_id)
        where {is_one_of("runs.dataset_id", [each["dataset_id"] for each in found])}
            and outputs.sample_id in ({", ".join(sorted({str(each["sample_id"]) for each in found}))})
            and runs.condition = 'clean'
            and runs.model_id in (select model_id from runs where {is_one_of("run_id", runs)})
        order by model_names.model
        """
    )
    of: dict[tuple[str, int], list[Json]] = {}
    for answer in answers:
        of.setdefault((answer.pop("dataset_id"), answer.pop("sample_id")), []).append(answer)
    return [{**each, "answers": of.get((each["dataset_id"], each["sample_id"]), [])} for each in found]


def _name(classes: Sequence[str], number: int | None) -> str | None:
    return classes[number] if number is not None and 0 <= number < len(classes) else None


def unit_features(store: Database, run_id: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The kept features of a run, each divided by its length.

    Returns:
        (n,) int32 ids of the samples and (n, width) float32.

    Raises:
        UsageError: If the run kept none.
    """
    import numpy as np

    ids, parts = [], []
    for batch in kept_vectors(store, "features", run_id):
        ids.append(batch.column("sample_id").to_numpy())
        parts.append(batch.column("values").values.to_numpy().reshape(len(batch), -1))
    if not parts:
        raise UsageError(
            f"the run {run_id} kept no features", hint="qubastore ingest ... --keep outputs,features, then look again"
        )
    vectors = np.concatenate(parts).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate(ids), vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def neighbours(ids: NDArray[np.int32], vectors: NDArray[np.float32], sample_id: int) -> list[tuple[int, float]]:
    """The nearest images in a model's features, by cosine similarity; ties by id.

    Args:
        ids: (n,) ids of the samples.
        vectors: (n, width) features of length 1.
        sample_id: The image.

    Returns:
        Sample id and similarity, -1 to 1, of at most `NEIGHBOURS` others, the most similar first.

    Raises:
        UsageError: If the image has no features.
    """
    import numpy as np

    (place,) = np.nonzero(ids == sample_id)
    if not len(place):
        raise UsageError(f"image {sample_id} has no features in this run")
    near = vectors @ vectors[place[0]]
    order = [int(i) for i in np.lexsort((ids, -near)) if ids[i] != sample_id]
    return [(int(ids[i]), float(near[i])) for i in order[:NEIGHBOURS]]
