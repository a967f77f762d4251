"""Whatever users type gives a value or a QubastoreError, never another exception.

QUBASTORE_FUZZ multiplies the number of inputs: `QUBASTORE_FUZZ=50 pytest tests/test_fuzz.py`.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path

import click
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qubastore.cli.weights import parse_weights
from qubastore.conditions import Condition
from qubastore.datasets.locating import parse_dataset
from qubastore.errors import QubastoreError
from qubastore.evaluators.planning.configuration import read_configuration
from qubastore.importers.people import import_human
from qubastore.importers.predictions import import_predictions
from qubastore.lake.location import locate
from qubastore.metrics.suite_files import suite_from_table
from qubastore.models.spec import ModelSpec
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest, final_weights
from qubastore.runs.lookup import named_model

N = int(os.environ.get("QUBASTORE_FUZZ", "1"))
many = settings(max_examples=200 * N, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=30 * N, deadline=None, suppress_health_check=list(HealthCheck))
OURS = (QubastoreError, click.UsageError)

PIECES = st.sampled_from(
    [
        "fgsm",
        "pgd",
        "scale",
        "shift",
        "resolution",
        "(",
        ")",
        "=",
        ",",
        "/",
        "8/255",
        "eps",
        "steps",
        "1.25",
        "-1",
        "nan",
        "inf",
        "1e999",
        "timm:",
        "python:",
        "open_clip:",
        "torchvision:",
        "a.py:net",
        "checkpoint",
        "https://",
        "'",
        '"',
        ";",
        "--",
        "..",
        "é",
        "calibration",
        "accuracy",
        "100000000000000000000",
        "layout",
        "splits",
        "vtab/",
        "\x00",
    ]
)
TEXT = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join))


@many
@given(TEXT)
def test_conditions(text):
    with contextlib.suppress(QubastoreError):
        for condition in Condition.parse_all(text):
            # What was understood is understood again, as itself.
            assert Condition.parse(str(condition)) == condition


@many
@given(TEXT)
def test_models(text):
    with contextlib.suppress(QubastoreError):
        spec = ModelSpec.parse(text)
        assert ModelSpec.parse(str(spec)) == spec


@many
@given(TEXT, st.booleans())
def test_datasets(text, rooted):
    with contextlib.suppress(QubastoreError):
        parse_dataset(text, "/nonexistent" if rooted else None, lambda _: None)


@many
@given(st.lists(TEXT, max_size=3))
def test_weights(texts):
    with contextlib.suppress(QubastoreError):
        final_weights(parse_weights(tuple(texts)))


@many
@given(TEXT)
def test_stores(text):
    with contextlib.suppress(QubastoreError):
        locate(text or "x")


@few
@given(text=TEXT)
def test_conditions_over_models_and_names(text, empty_store):
    import qubastore

    with qubastore.open(empty_store) as store:
        with contextlib.suppress(QubastoreError):
            rank(store, RankRequest(where=text, source="published"))
        with contextlib.suppress(QubastoreError):
            named_model(store, text)
        assert store.rows("select count(*) from published_models") == [(326,)]


KEYS = st.sampled_from(
    [
        "models",
        "datasets",
        "suite",
        "ingest",
        "id",
        "path",
        "layout",
        "framing",
        "batch_size",
        "keep",
        "limit",
        "strict",
        "name",
        "roles",
        "role",
        "dataset",
        "condition",
        "n_samples",
        "label_space",
        "clean",
        "corrupted",
        "nonsense",
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def toml(value) -> str:
    """A value as TOML, as far as there is a form for it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0xD800 else "x" for c in value) + '"'
    return '""' if value is None else str(value)


@many
@given(table=st.one_of(st.dictionaries(KEYS, VALUES, max_size=4), st.text(max_size=60)))
def test_configurations(tmp_path_factory, table):
    text = table if isinstance(table, str) else "\n".join(f"{key} = {toml(value)}" for key, value in table.items())
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_text(text, "utf-8", errors="replace")
    with contextlib.suppress(*OURS):
        read_configuration(str(file))


@many
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_suites(table):
    with contextlib.suppress(QubastoreError):
        suite_from_table(table, "fuzz.toml")


CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "0.5", "nan", "inf", "1e400", "a/0.png", "na", "dog", '"', "'"]), TEXT
)
HEADS = st.sampled_from(
    (
        "file_name,predicted_class,predicted_probability",
        "file_name,label",
        "file_name,predicted_class,predicted_probability,file_name",
        "predicted_class",
        "",
        "subj,session,trial,rt,object_response,category,condition,imagename",
        "subj,session,trial,rt,object_response",
    )
)
ROWS = st.lists(st.lists(CELLS, max_size=9), max_size=5)


def write_csv(file: Path, head: str, rows) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [head, *(",".join(row) for row in rows)]
    file.write_bytes("\n".join(lines).encode("utf-8", errors="surrogatepass"))
    return file


@few
@given(head=HEADS, rows=ROWS, label_head=HEADS, labels=ROWS, with_labels=st.booleans())
def test_imported_predictions(tmp_path_factory, empty_store, head, rows, label_head, labels, with_labels):
    import qubastore

    folder = tmp_path_factory.getbasetemp() / "fuzz"
    file = write_csv(folder / "predictions.csv", head, rows)
    answers = write_csv(folder / "labels.csv", label_head, labels) if with_labels else None
    with qubastore.open(empty_store, read_only=False) as store:
        try:
            run = import_predictions(store, file, model="fuzz", dataset="fuzz", labels=answers)
        except QubastoreError:
            run = None
        if run is not None:
            from qubastore.runs.removal import remove_model

            (model_id,) = store.rows("select model_id from runs where run_id = ?", [run])[0]
            store.write(lambda c: remove_model(c, model_id))


@few
@given(head=HEADS, rows=ROWS, name=TEXT)
def test_imported_answers_of_people(tmp_path_factory, empty_store, head, rows, name):
    import qubastore

    folder = tmp_path_factory.mktemp("human")
    safe = "".join(c for c in name if c.isascii() and c.isalnum())[:20] or "x"
    write_csv(folder / "raw" / "cue-conflict" / f"cue-conflict_subject-{safe}_session_1.csv", head, rows)
    with qubastore.open(empty_store, read_only=False) as store, contextlib.suppress(QubastoreError):
        import_human(store, folder / "raw")


def test_toml_of_ours_is_toml():
    assert tomllib.loads(f"x = {toml({'id': 'é', 'keep': [1, True]})}") == {"x": {"id": "é", "keep": [1, True]}}
