"""A gallery for the one-file report: mistakes, flips between models, cue conflicts, suspected labels, as thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from qubastore.errors import DatasetError, UsageError
from qubastore.explorer.catalog import english_names
from qubastore.explorer.images import Images, encoded, shrunk
from qubastore.explorer.samples import samples
from qubastore.explorer.selection import Selection
from qubastore.lake.database import Database
from qubastore.runs.cue_decisions import cue_decisions

Json = dict[str, Any]

SIDE = 128
"""Longest side of a thumbnail in pixels."""
BYTES = 6_000
"""Largest size of a thumbnail; it is encoded at lower qualities until it fits."""
MOST = 100
"""Maximum number of images per part, so that a gallery has at most 4 MB."""
LICENCE = (
    "These images belong to others. The terms of many datasets, ImageNet among them, do not allow images to be passed"
    " on: send this file only to people who may have them."
)


def gallery(
    store: Database,
    images: Images,
    suite: str,
    models: Sequence[str],
    count: int,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> Json:
    """Choose images by what models answered on a suite's clean and cue-conflict sets.

    The parts: the most confident mistakes of the most accurate model; the images that one of the two most accurate
    models gets right and the other wrong, by the difference of the label's probability; cue conflicts, the most
    confident decisions for the texture and for the shape; suspected labels, where up to three models agree on another
    class.

    Args:
        store: An open store.
        images: Where the images are.
        suite: Name of the suite.
        models: The measured models of the report.
        count: Maximum number of images per part, at most `MOST`.
        log: Called with a message about images that are not at hand.

    Returns:
        `licence` and `parts`: each with title, about, and images with label, key, answers and a thumbnail as data URL.

    Raises:
        UsageError: If no model of the suite was measured on its clean set, or `count` is out of range.
        DatasetError: If no image at all is at hand; the error is that of the first.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"--images {count} is out of range", expected=f"1 to {MOST} per part")
    clean = _runs(store, suite, "clean", models)
    if not clean:
        raise UsageError(
            f"there are no images to show: no model was measured on the clean set of suite {suite}",
            hint=f"qubastore ingest --suite {suite}, or leave --images out",
        )
    runs = [run for run, _ in clean]
    names = dict(clean)
    chosen: list[tuple[str, str, Selection]] = [
        (
            "Most confident mistakes",
            f"of {names[runs[0]]}, the most accurate model measured",
            Selection((runs[0],), ("wrong",), sort="confidence", descending=True),
        )
    ]
    if len(runs) > 1:
        for right, wrong in ((runs[0], runs[1]), (runs[1], runs[0])):
            flips = Selection((right, wrong), ("right", "wrong"), sort="disagreement", descending=True)
            chosen.append((f"{names[right]} right, {names[wrong]} wrong", "by the label's probability", flips))
        suspected = Selection(tuple(runs[:3]), ("wrong",) * 3, agree="same", sort="confidence", descending=True)
        chosen.append(("Suspected labels", f"{len(runs[:3])} models agree on another class", suspected))
    cues = _runs(store, suite, "cue_conflict", models)
    names.update(cues)
    for run, name in cues[:1]:
        for kind in ("texture", "shape"):
            query = f"select sample_id from ({cue_decisions()}) where run_id = ? and {kind}"
            decided = [sample_id for (sample_id,) in store.rows(query, [run])]
            found = Selection((run,), only=decided, sort="confidence", descending=True)
            chosen.append((f"Cue conflicts decided by {kind}", f"of {name}", found))
    absent: list[DatasetError] = []
    parts = [
        {"title": title, "about": about, "images": _pictures(store, images, selection, names, count, absent)}
        for title, about, selection in chosen
    ]
    if absent and not any(part["images"] for part in parts):
        raise absent[0]
    if absent:
        log(f"{len(absent)} images left out of the gallery: {absent[0].what}")
    return {"licence": LICENCE, "parts": [part for part in parts if part["images"]]}


def _runs(store: Database, suite: str, role: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """The runs of a role with their models, the most accurate first; of one dataset, that with the most runs."""
    found = store.rows(
        """
        select answer.run_id, answer.model, runs.dataset_id
        from dimension_runs as answer
        join runs using (run_id)
        join run_summary using (run_id)
        where answer.suite = ? and answer.role = ? and n_correct is not null
        order by n_correct / n_outputs desc, answer.model
        """,
        [suite, role],
    )
    found = [row for row in found if row[1] in models]
    datasets = [dataset for _, _, dataset in found]
    most = max(datasets, key=datasets.count, default=None)
    return [(run, model) for run, model, dataset in found if dataset == most]


def _pictures(
    store: Database,
    images: Images,
    selection: Selection,
    names: dict[str, str],
    count: int,
    absent: list[DatasetError],
) -> list[Json]:
    found = samples(store, selection, limit=count, offset=0)["rows"]
    if not found:
        return []
    dataset = found[0]["dataset_id"]
    images.look_up(store, dataset, [row["sample_id"] for row in found])
    ((classes,),) = store.rows("select classes from datasets where dataset_id = ?", [dataset])
    shown = english_names(classes) or classes
    pictures = []
    for row in found:
        try:
            thumbnail = small(images.read(images.find(dataset, row["sample_id"])), row["key"])
        except DatasetError as error:
            absent.append(error)
            continue
        answers = [
            {
                "model": names[run],
                "answer": shown[answer["prediction"]],
                "right": answer["is_right"],
                "confidence": answer["confidence"],
            }
            for run, answer in zip(selection.runs, row["answers"], strict=True)
        ]
        label = None if row["label"] is None else shown[row["label"]]
        pictures.append({"key": row["key"], "label": label, "answers": answers, "image": thumbnail})
    return pictures


def small(data: bytes, key: str) -> str:
    """A thumbnail of at most `BYTES` as a data URL."""
    image = shrunk(data, SIDE, key)
    made = next((made for quality in (80, 60, 40, 20) if len(made := encoded(image, quality=quality)) <= BYTES), None)
    while made is None:
        image.thumbnail((image.width // 2, image.height // 2))
        half = encoded(image, quality=20)
        made = half if len(half) <= BYTES else None
    return "data:image/webp;base64," + base64.b64encode(made).decode()
