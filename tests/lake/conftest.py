"""Fixtures: runs over four samples, a whole suite of them, a place for a store by URL."""

from __future__ import annotations

import shutil

import pytest

import qubastore
from tests.lake.hand_worked import LABELS, LOGITS, PETS, SUITE, add_four_samples, ask, right
from tests.support.runs import add_run


@pytest.fixture(scope="session")
def answers(empty_store, tmp_path_factory):
    """query -> rows of a store with a run over the four samples."""
    path = tmp_path_factory.mktemp("one_run") / "store"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as made:
        run_id = add_four_samples(made)
    with qubastore.open(path) as store:
        yield lambda query: ask(store, run_id, query)


@pytest.fixture(scope="session")
def whole_store(empty_store, tmp_path_factory):
    """A store with a run in every role of the suite `tiny`, to copy: it takes seconds to make."""
    path = tmp_path_factory.mktemp("whole") / "store"
    shutil.copytree(empty_store, path)
    rows = [
        f"('tiny', '{role}', '{data}', '{condition}', 'model', 4, '', 'pillow')" for role, data, condition, _ in SUITE
    ]
    rows += [
        "('tiny', 'cue_conflict', 'cues', 'clean', 'whole', 4, '', 'pillow')",
        "('tiny', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow')",
    ]
    with qubastore.open(path, read_only=False) as made:
        made.write(lambda c: c.execute(f"insert into own_suites values {', '.join(rows)}"))
        add_run(made, LOGITS, LABELS, classes=PETS, complete=False)
        for _, data, condition, n in SUITE:
            parts = data.split("/")
            factors = {"corruption": parts[1], "severity": parts[2]} if len(parts) == 3 else {}
            options = {"dataset": data, "condition": condition, "factors": factors}
            add_run(made, right(n), LABELS, classes=PETS, complete=False, **options)
        cues = {"dataset": "cues", "classes": PETS, "framing": "whole", "textures": [1, 1, 0, 1]}
        add_run(made, [[1, 0], [0, 1], [1, 0], [0, 1]], [0, 0, 1, 1], **cues)  # completes them all
        made.write(lambda c: c.execute("insert into checkpoints select 'training', 500, model_id, null from models"))
    return path


@pytest.fixture(scope="session")
def whole_suite(whole_store):
    """The same, open for reading: tests only ask it."""
    with qubastore.open(whole_store) as store:
        yield store


@pytest.fixture
def whole(whole_store, tmp_path):
    """A copy of it, open for writing."""
    shutil.copytree(whole_store, tmp_path / "whole")
    with qubastore.open(tmp_path / "whole", read_only=False) as made:
        yield made


@pytest.fixture
def url(postgres, s3):
    database = postgres.database()
    return postgres.url(database, f"s3://{s3.BUCKET}/{database}")
