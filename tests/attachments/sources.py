"""Shared by tests of attached sources: their figures by model, measured models, one of timm's tables."""

from __future__ import annotations

from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.runs.publish import publish_runs
from tests.support.runs import CLASSES, SETS, add_run, dataset_of, made

NAMES = [d.name for d in DIMENSIONS]


TIMM = """\
model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation
net_a.in1k,81.5,18.5,95.1,4.9,25.56,288,1.000,bicubic
net_b.in22k,89.786,10.214,98.992,1.008,"1,014.45",560,1.000,bicubic
"""


def figures(store, source, suite="tiny"):
    """Model -> its nine figures, in a source."""
    ranking = rank(store, RankRequest(suite=suite, source=source, partial=True))
    at = {name: ranking.columns.index(name) for name in ("model", *NAMES)}
    return {row[at["model"]]: [row[at[name]] for name in NAMES] for row in ranking.rows}


def own_models(store, skills=("good", "poor")):
    """The suite `tiny` in a store, with other models of the same images: their names begin with my_."""
    rows = [("tiny", role, ds, condition, "model", n, "", "pillow") for (ds, condition), (role, n) in SETS.items()]
    store.write(lambda c: c.executemany("insert into own_suites values (?, ?, ?, ?, ?, ?, ?, ?)", rows))
    for skill in skills:
        for (dataset, condition), (role, n) in SETS.items():
            logits, labels = made(skill, dataset, condition, n)
            textures = [int(label + 1) % len(CLASSES) for label in labels] if role == "cue_conflict" else None
            data = dataset_of(labels, CLASSES, dataset, textures)
            add_run(store, logits * 1.5, labels, data=data, name=f"my_{skill}", condition=condition, complete=False)
    publish_runs(store)
