"""Ranking by what models cost on a device, in place of their number of parameters."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import StoreError, UsageError
from qubastore.maintenance.copy import copy_store
from qubastore.metrics.suites import Role, Suite
from qubastore.ranking.cost import Cost
from qubastore.ranking.explain import explain
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.runs.device_benchmarks import DeviceBenchmark, replace_benchmark
from qubastore.runs.records import replace_suite
from qubastore.runs.removal import remove_model

LATENCIES = {"good": 4.0, "fair": 1.0, "poor": 2.5}
"""Milliseconds on the GPU H100 in fp32, by model; in bf16 it is half."""


def benchmark(model_id, latency, *, device="NVIDIA H100", precision="fp32", runtime="torch 2.14.1", day=1):
    return DeviceBenchmark(
        *(model_id, device, runtime, precision, 32, 32, latency, 2 * latency, 100, 64, 1000 / latency),
        *(10 * latency, None, datetime(2026, 1, day, tzinfo=UTC)),
    )


@pytest.fixture
def measured(tiny_copy):
    """The suite `tiny` with benchmarks of its three models."""
    ids = dict(tiny_copy.rows("select name, model_id from models"))
    assert ids.keys() == LATENCIES.keys()

    def work(connection):
        for name, latency in LATENCIES.items():
            replace_benchmark(connection, benchmark(ids[name], latency))
            replace_benchmark(connection, benchmark(ids[name], latency / 2, precision="bf16"))
            replace_benchmark(connection, benchmark(ids[name], 90.0, device="AMD EPYC, 2 threads"))

    tiny_copy.write(work)
    return tiny_copy


def test_a_cost_takes_the_place_of_the_parameters(measured):
    """The mean of 4, 1 and 2.5 is 2.5, their population variance (1.5^2 + 1.5^2) / 3 = 1.5."""
    request = RankRequest(suite="tiny", cost="latency_ms@H100", dimensions=["parameters"])
    ranking = rank(measured, request)
    assert ranking.columns[-1] == "latency_ms"
    want = [("fair", 1.5 / 1.5**0.5), ("poor", 0.0), ("good", -1.5 / 1.5**0.5)]
    assert [(model.model, pytest.approx(model.quba, abs=1e-12)) for model in ranking.models] == want
    assert [row[-1] for row in ranking.rows] == [1.0, 2.5, 4.0]
    assert ranking.notes[0] == "by latency_ms on NVIDIA H100 in fp32, with torch 2.14.1, in place of the parameters"
    half = rank(measured, RankRequest(suite="tiny", cost="latency_ms@h100:bf16", dimensions=["parameters"]))
    assert [row[-1] for row in half.rows] == [0.5, 1.25, 2.0]


def test_the_other_dimensions_stay_and_the_condition_sees_both(measured):
    usual = {model.model: model for model in rank(measured, RankRequest(suite="tiny")).models}
    found = rank(measured, RankRequest(suite="tiny", cost="ms_per_image@H100", where="cost < 3 and parameters_m >= 1"))
    assert {model.model for model in found.models} == {"fair", "poor"}
    for model in found.models:
        values = {**usual[model.model].values, "parameters": pytest.approx(LATENCIES[model.model])}
        assert model.values == values


@pytest.mark.parametrize("name", ["macs_g", "activations_m"])
def test_work_is_a_cost_without_a_device(measured, name):
    ranking = rank(measured, RankRequest(suite="tiny", cost=name))
    figures = dict(measured.rows(f"select model, {name} from costs"))
    assert {row[1]: row[-1] for row in ranking.rows} == figures


def test_conditions_may_ask_the_benchmarks_themselves(measured):
    fast = (
        "model in (select model from benchmarks where device = 'NVIDIA H100' and precision = 'bf16' and latency_ms < 2)"
    )
    ranking = rank(measured, RankRequest(suite="tiny", where=fast))
    assert {model.model for model in ranking.models} == {"fair", "poor"}


def test_the_newest_runtime_counts(measured):
    (one,) = measured.rows("select model_id from models where name = 'good'")
    newer = benchmark(one[0], 3.0, runtime="torch 3", day=2)
    measured.write(lambda c: replace_benchmark(c, newer))
    ranking = rank(measured, RankRequest(suite="tiny", cost="latency_ms@H100", dimensions=["parameters"]))
    assert {row[1]: row[-1] for row in ranking.rows}["good"] == 3.0
    assert "with torch 2.14.1 and torch 3 (2 runtimes, which may differ in speed)" in ranking.notes[0]
    # The same model, device, runtime and precision again: the row is replaced.
    measured.write(lambda c: replace_benchmark(c, benchmark(one[0], 2.0, runtime="torch 3", day=3)))
    assert measured.rows("select latency_ms from benchmarks where runtime = 'torch 3'") == [(2.0,)]


def test_a_model_without_the_figure_is_left_out(measured):
    measured.write(
        lambda c: c.execute(
            "delete from device_benchmarks where model_id in (from models select model_id where name = 'poor')"
        )
    )
    ranking = rank(measured, RankRequest(suite="tiny", cost="latency_ms@H100"))
    assert {model.model for model in ranking.models} == {"good", "fair"}
    assert any("1 left out" in note for note in ranking.notes)


def test_an_explanation_names_the_cost(measured):
    found = explain(measured, "fair", RankRequest(suite="tiny", cost="latency_ms@H100"))
    assert "latency_ms" in [row[0] for row in found.rows]
    assert "parameters" not in [row[0] for row in found.rows]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"cost": "latency_ms"}, "does not name a device"),
        ({"cost": "latency_ms@"}, "does not name a device"),
        ({"cost": "latency@H100"}, "unknown cost 'latency'"),
        ({"cost": "macs_g@H100"}, "macs_g is the same on every device"),
        ({"cost": "latency_ms@A100"}, "no devices with benchmarks are called 'A100'"),
        ({"cost": "latency_ms@A"}, "2 devices with benchmarks are called 'A'"),
        ({"cost": "latency_ms@H100", "normalize": "published"}, "no constants for latency_ms"),
        ({"cost": "energy_j@H100"}, r"none of the 3 models of suite tiny has every[^\0]*no model has energy_j"),
        ({"cost": "latency_ms@H100:bf17"}, "unknown precision 'bf17'"),
        ({"cost": "latency_ms@H100:fp16"}, "no benchmark on NVIDIA H100 is in fp16"),
    ],
)
def test_costs_that_cannot_be_ranked_by(measured, request_, message):
    with pytest.raises(UsageError, match=message):
        rank(measured, RankRequest(suite="tiny", **request_))


def test_a_cost_has_no_interval(measured):
    with pytest.raises(UsageError, match="a cost has none"):
        rank_intervals(measured, RankRequest(suite="tiny", cost="latency_ms@H100"))


def test_requests_may_name_the_cost(measured):
    cost = RankRequest(suite="tiny", cost="latency_ms@H100")
    by_name = rank(measured, replace(cost, weights={"latency_ms": 3}, dimensions=["accuracy", "latency_ms"]))
    by_place = rank(measured, replace(cost, weights={"parameters": 3}, dimensions=["accuracy", "params"]))
    assert by_name.rows == by_place.rows
    front = rank(measured, replace(cost, pareto=["accuracy", "latency_ms"]))
    assert any("Pareto front of accuracy, latency_ms" in note for note in front.notes)
    with pytest.raises(UsageError, match="latency_ms"):
        RankRequest({"latency_ms": 3}, suite="tiny")


def test_a_device_whose_name_has_a_colon():
    assert Cost.parse("latency_ms@GPU: the first") == Cost("latency_ms", "GPU: the first", "fp32")
    assert Cost.parse("latency_ms@GPU: the first:bf16") == Cost("latency_ms", "GPU: the first", "bf16")


def test_on_the_command_line(measured, monkeypatch):
    measured.close()
    monkeypatch.setenv("COLUMNS", "200")
    words = ["--suite", "tiny", "--store", str(measured.path), "--cost", "latency_ms@H100"]
    shown = CliRunner().invoke(cli, ["rank", *words])
    assert shown.exit_code == 0, shown.output
    assert "latency_ms" in shown.output
    assert "by latency_ms on NVIDIA H100 in fp32" in shown.output
    explained = CliRunner().invoke(cli, ["explain", "fair", *words])
    assert "latency_ms ↓" in explained.output
    rows = json.loads(CliRunner().invoke(cli, ["rank", *words, "--format", "json"]).stdout)
    assert {row["model"]: row["latency_ms"] for row in rows} == LATENCIES
    listed = CliRunner().invoke(cli, ["show", "models", "--store", str(measured.path), "--format", "json"])
    assert {row["name"]: row["latency_on"] for row in json.loads(listed.stdout)}.keys() == LATENCIES.keys()


def test_a_copy_has_the_newest_figure(measured, store):
    copy_store(measured, store, ["good"])
    (one,) = measured.rows("select model_id from models where name = 'good'")
    measured.write(lambda c: replace_benchmark(c, benchmark(one[0], 3.5, day=2)))
    copy_store(measured, store, ["good"])
    figures = "select latency_ms from benchmarks where model = 'good' and device = 'NVIDIA H100' and precision = 'fp32'"
    assert store.rows(figures) == [(3.5,)]
    # An older one does not replace a newer one.
    measured.write(lambda c: replace_benchmark(c, benchmark(one[0], 4.0, day=1)))
    copy_store(measured, store, ["good"])
    assert store.rows(figures) == [(3.5,)]


def test_suites_with_other_decoders_are_not_merged(measured, store):
    suite = Suite("mine", (Role("clean", "pets", 80),))
    measured.write(lambda c: replace_suite(c, suite))
    store.write(lambda c: replace_suite(c, replace(suite, decoder="torchvision")))
    with pytest.raises(StoreError, match="suite mine has another decoder in the target"):
        copy_store(measured, store)


def test_benchmarks_go_with_their_model(measured, store):
    copy_store(measured, store, ["good"])
    assert store.rows("select distinct model from benchmarks") == [("good",)]
    (one,) = store.rows("select model_id from models")
    store.write(lambda c: remove_model(c, one[0]))
    assert store.rows("select count(*) from device_benchmarks") == [(0,)]
