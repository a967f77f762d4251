"""QUBA: the study's formula on the published table, weights, pools, and everything that can be asked wrongly."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qubastore
from qubastore.errors import QubastoreError, QueryError, UsageError
from qubastore.lake.rows import insert
from qubastore.metrics.dimensions import DIMENSION_NAMES, DIMENSIONS
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest, final_weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    with qubastore.init(tmp_path_factory.mktemp("ranking") / "store") as store:
        yield store


def published_rows() -> list[dict[str, str]]:
    with files("qubastore.published").joinpath("hesse2025.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def plain_quba(rows, weights=None, mean_std=None) -> dict[str, float]:
    """The formula as a loop, written for the check."""
    weights = weights or {d.name: d.default_weight for d in DIMENSIONS}
    scores = {}
    for row in rows:
        total = 0.0
        for d in DIMENSIONS:
            value = float(row["parameters_m" if d.name == "parameters" else d.name])
            mean, std = mean_std[d.name] if mean_std else (d.published_mean, d.published_std)
            sign = 1 if d.better == "up" else -1
            total += weights[d.name] * sign * (0 if std == 0 else (value - mean) / std)
        scores[row["model"]] = total / sum(weights.values())
    return scores


def trimmed_mean_std(rows) -> dict[str, tuple[float, float]]:
    result = {}
    for d in DIMENSIONS:
        values = np.sort([float(r["parameters_m" if d.name == "parameters" else d.name]) for r in rows])
        drop = math.floor(0.1 * len(values))
        kept = values[drop : len(values) - drop]
        result[d.name] = (kept.mean(), kept.std(ddof=0))
    return result


def scores_of(ranking) -> dict[str, float]:
    return {row[1]: row[3] for row in ranking.rows}


def test_published_ranking_is_the_studys_formula(published):
    got, want = scores_of(rank(published)), plain_quba(published_rows())
    assert len(got) == len(want) == 326
    assert max(abs(got[name] - want[name]) for name in want) < 1e-9


def test_published_leaders(published):
    leaders = [(row[1], round(row[3], 6)) for row in rank(published, RankRequest(top=5)).rows]
    assert leaders == [
        ("EVA02-b-21k", 1.073766),
        ("Hiera-B-Plus", 1.031030),
        ("ConvNextV2-B-21k", 0.963917),
        ("Hiera-B", 0.947781),
        ("NS-EfficientNet-B6", 0.937241),
    ]


def test_store_normalisation_is_the_trimmed_estimator(published):
    rows = published_rows()
    want = plain_quba(rows, mean_std=trimmed_mean_std(rows))
    got = rank(published, RankRequest(normalize="store"))
    assert max(abs(scores_of(got)[name] - want[name]) for name in want) < 1e-9
    assert "326 hesse2025 models" in got.notes[0]


def test_store_normalisation_comes_after_where(published):
    rows = [r for r in published_rows() if r["architecture"] == "cnn" and float(r["parameters_m"]) < 30]
    want = plain_quba(rows, mean_std=trimmed_mean_std(rows))
    got = scores_of(rank(published, RankRequest(where="architecture = 'cnn' and parameters_m < 30", normalize="store")))
    assert set(got) == set(want)
    assert max(abs(got[name] - want[name]) for name in want) < 1e-9


def test_published_constants_are_the_trimmed_estimator_to_four_digits():
    estimate = trimmed_mean_std(published_rows())
    for d in DIMENSIONS:
        assert estimate[d.name][0] == pytest.approx(d.published_mean, abs=1e-4)
        assert estimate[d.name][1] == pytest.approx(d.published_std, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DIMENSION_NAMES)), st.floats(0, 100), max_size=5))
def test_any_weights(published, factors):
    weights = {d.name: d.default_weight for d in DIMENSIONS}
    for name, factor in factors.items():
        for dimension in DIMENSION_NAMES[name]:
            weights[dimension] *= factor
    if not any(weights.values()):
        with pytest.raises(UsageError, match="all weights are zero"):
            rank(published, RankRequest(factors))
        return
    got, want = scores_of(rank(published, RankRequest(factors))), plain_quba(published_rows(), weights)
    assert max(abs(got[name] - want[name]) for name in want) < 1e-9 * max(1, *map(abs, want.values()))


def test_the_macro_takes_aliases_and_groups(published):
    by_macro = published.rows("from quba_ranking(map {'calibration': 2, 'robustness': 0.5})")
    by_python = rank(published, RankRequest({"calibration": 2, "robustness": 0.5})).rows
    assert [(row[1], pytest.approx(row[3], abs=1e-12)) for row in by_macro] == [(row[1], row[3]) for row in by_python]
    assert len(by_macro) == 326


def test_overlapping_names_multiply():
    weights = final_weights({"robustness": 2, "ood": 3})
    assert weights["ood_robustness"] == pytest.approx(2.0)
    assert weights["adversarial_robustness"] == pytest.approx(2 / 3)


def test_from_python_as_polars(published):
    frame = published.rank({"calibration": 2}, top=3).pl()
    assert frame["model"].to_list()[0] == "EVA02-b-21k"
    assert frame.height == 3


def add_measured(store, values: dict[str, dict[str, float]], suite="tiny") -> None:
    """Measured models, as complete runs with stored metrics."""
    roles = [(suite, "clean", "pets", "clean", "model", 4, None, "pillow")]
    size = {"parameters": 1e6}
    models: list[tuple[Any, ...]] = []
    runs: list[tuple[Any, ...]] = []
    metrics: list[tuple[Any, ...]] = []
    summaries: list[tuple[Any, ...]] = []
    for name, given_values in values.items():
        parameters = int(given_values.get("parameters", size["parameters"]) * 1)
        models.append((f"m-{name}", name, "python", "{}", "", "{}", 8, 8, 2, parameters, 1, "logits", None, None, None))
        runs.append(
            (f"r-{name}", f"m-{name}", "d", "model", "clean", "fp32", 1, "measured", 4, 1, [], None, "pillow", None)
        )
        summaries.append((f"r-{name}", 4, 0, 2, None, 0.0, None, None, None))
        metrics += [(f"r-{name}", metric, 1, v) for metric, v in given_values.items() if metric != "parameters"]

    def work(connection):
        insert(connection, "own_suites", roles)
        insert(connection, "datasets", [("d", "pets", 4, "own-classes", ["cat", "dog"], None, None, [])])
        for table, rows in (
            ("models", models),
            ("runs", runs),
            ("run_summary", summaries),
            ("run_metrics", metrics),
        ):
            insert(connection, table, rows)

    store.write(work)


WHOLE = {"accuracy": 0.5, "calibration_error": 0.1, "class_balance": 0.7}


def test_partial_divides_by_the_weights_present(store):
    # Two models, nothing trimmed (floor(0.1 * 2) = 0): each dimension's values normalise to -1 and +1.
    # accuracy: 0.5, 0.7 -> -1, +1 (weight 1); calibration 0.1, 0.3 -> -1, +1, down is better (weight 1);
    # class_balance only b (weight 1): no spread, 0; parameters equal: 0 (weight 1).
    # a: (1 * -1 + 1 * +1 + 0) / 3 = 0; b: (1 - 1 + 0 + 0) / 4 = 0; with accuracy doubled: a -1/4, b +1/5.
    a = {"accuracy": 0.5, "calibration_error": 0.1}
    b = {"accuracy": 0.7, "calibration_error": 0.3, "class_balance": 0.7}
    add_measured(store, {"a": a, "b": b})
    got = rank(store, RankRequest({"accuracy": 2}, suite="tiny", partial=True, where="true"))
    assert scores_of(got) == {"b": pytest.approx(1 / 5), "a": pytest.approx(-1 / 4)}
    coverage = {row[1]: row[4] for row in got.rows}
    # accuracy (doubled) + calibration + balance + parameters; the suite has no roles for the others
    total = 2 + 1 + 1 + 1
    assert coverage == {"a": pytest.approx(4 / total), "b": pytest.approx(5 / total)}
    assert any("no spread" in note and "parameters" in note for note in got.notes)
    assert any("coverage" in note for note in got.notes)


def test_what_a_suite_cannot_tell_is_not_asked_of_its_models(store):
    add_measured(store, {"a": WHOLE, "b": {**WHOLE, "accuracy": 0.6}})
    got = rank(store, RankRequest({"robustness": 2}, suite="tiny"))
    assert [row[1] for row in got.rows] == ["b", "a"]
    assert {row[4] for row in got.rows} == {1.0}
    absent = "adversarial_robustness, corruption_robustness, ood_robustness, object_focus, shape_bias"
    assert f"suite tiny has no runs for {absent}" in got.notes
    assert got.weights["ood_robustness"] == 0
    # What is named by itself is wanted.
    with pytest.raises(UsageError, match=r"has every weighted dimension[\s\S]*no model has shape_bias"):
        rank(store, RankRequest({"shape": 2}, suite="tiny"))


def test_a_model_that_lacks_a_dimension_is_left_out_and_counted(store):
    add_measured(store, {"a": WHOLE, "b": {**WHOLE, "accuracy": 0.6}, "c": {"accuracy": 0.9}})
    got = rank(store, RankRequest(suite="tiny", dimensions=["accuracy", "calibration", "balance", "params"]))
    assert sorted(scores_of(got)) == ["a", "b"]
    assert any(note.startswith("1 left out") for note in got.notes)


def test_measured_models_come_first_and_sources_never_mix_silently(store):
    add_measured(store, {"mine": WHOLE, "other": {**WHOLE, "accuracy": 0.6}}, suite="extra")
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('quba', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow')"
        )
    )
    assert {row[2] for row in rank(store).rows} == {"hesse2025"}
    four = ["accuracy", "calibration", "balance", "params"]
    assert {row[2] for row in rank(store, RankRequest(dimensions=four)).rows} == {"measured"}
    both = rank(store, RankRequest(dimensions=four, source="all"))
    assert {row[2] for row in both.rows} == {"measured", "hesse2025"}
    assert any("mixed" in note for note in both.notes)


def test_equal_scores_share_a_rank(store):
    add_measured(store, {"a": WHOLE, "b": WHOLE, "c": {**WHOLE, "accuracy": 0.4}})
    got = rank(store, RankRequest(suite="tiny", partial=True))
    assert [(row[0], row[1]) for row in got.rows] == [(1, "a"), (1, "b"), (3, "c")]


def test_a_subset_run_counts_in_no_dimension(store):
    add_measured(store, {"a": WHOLE, "b": WHOLE})
    store.write(lambda c: c.execute("update own_suites set n_samples = 5 where suite = 'tiny'"))
    assert store.rows("select distinct subset from run_details") == [(True,)]
    with pytest.raises(UsageError, match="no models to rank"):
        rank(store, RankRequest(suite="tiny", partial=True))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weights": {"calibraton": 2}}, "did you mean calibration"),
        ({"weights": {"accuracy": -1}}, "weight of accuracy is -1"),
        ({"weights": {"accuracy": float("nan")}}, "weight of accuracy is nan"),
        ({"weights": {"accuracy": float("inf")}}, "weight of accuracy is inf"),
        ({"weights": dict.fromkeys([d.name for d in DIMENSIONS], 0)}, "all weights are zero"),
        ({"dimensions": ["colour"]}, "unknown dimension 'colour'"),
        ({"suite": "qubba"}, "did you mean quba"),
        ({"source": "elsewhere"}, "unknown source"),
        ({"normalize": "z"}, "unknown normalisation"),
        ({"source": "measured"}, "no models to rank"),
        ({"where": "accuracy > 2"}, "no models to rank"),
        ({"where": "model = 'AlexNet'", "normalize": "store"}, "at least two models"),
    ],
)
def test_wrong_requests(published, asked, message):
    with pytest.raises(UsageError, match=message) as caught:
        rank(published, RankRequest(**asked))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("where", ["1=1) or (1=1", "true; drop table runs", "accuracy >", "(select 1", ""])
def test_invalid_conditions_are_refused(published, where):
    with pytest.raises((QueryError, UsageError)):
        rank(published, RankRequest(where=where))
    assert published.rows("select count(*) from published_models") == [(326,)]


def test_unknown_column_names_the_candidates(published):
    with pytest.raises(QueryError, match="accuracyy"):
        rank(published, RankRequest(where="accuracyy > 0.5"))


def test_the_macro_refuses_wrong_weights(published):
    nothing = ", ".join(f"'{d.name}': 0" for d in DIMENSIONS)
    for weights, message in (
        ("map {'colour': 1}", "unknown dimension"),
        ("map {'accuracy': -1}", "from 0 up"),
        ("map {'accuracy': 'nan'::double}", "from 0 up"),
        ("map {'accuracy': null}", "from 0 up"),
        (f"map {{{nothing}}}", "all weights are zero"),
        ("map {}, suite_name := 'quba', normalize := 'z'", "unknown normalisation"),
    ):
        with pytest.raises(QubastoreError, match=message):
            published.rows(f"from quba_ranking({weights})")


def test_the_macro_keeps_the_studys_constants_to_its_suite(store):
    add_measured(store, {"a": WHOLE, "b": WHOLE})
    with pytest.raises(QubastoreError, match="belong to the suite quba"):
        store.rows("from quba_ranking(map {}, suite_name := 'tiny', normalize := 'published', partial := true)")


def test_weights_that_add_up_to_infinity():
    with pytest.raises(UsageError, match="infinity"):
        final_weights({"accuracy": 1e308, "parameters": 1e308})


def test_models_of_unverified_identity_are_named(tiny_copy):
    """A `python:` model recorded by the text of its file, beside one that is known by what it computes."""
    found = rank(tiny_copy, RankRequest(suite="tiny", source="measured"))
    assert not [note for note in found.notes if "unverified" in note]
    tiny_copy.write(
        lambda c: c.execute("""update models set architecture = '{"python":"net","source":"a1"}' where name = 'fair'""")
    )
    found = rank(tiny_copy, RankRequest(suite="tiny", source="measured"))
    assert "identity unverified: fair: identified by a file's text only; ingest it again" in found.notes
