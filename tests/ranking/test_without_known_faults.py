"""Ranking without known faults: in every way of ranking, in SQL and on the command line."""

from __future__ import annotations

import json

import pytest

from qubastore.errors import UsageError
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.metrics.known_differences import (
    known_faults,
)
from qubastore.ranking.explain import explain
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.rank import rank
from qubastore.ranking.request import RankRequest
from qubastore.ranking.sensitivity import flips, sensitivity
from qubastore.statistics.options import BootstrapOptions
from tests.support.commands import invoke


def faulty(model):
    return set(known_faults(model))


def test_ranking_without_known_faults(published, table):
    """Models whose every figure stands keep their scores; the others are null in these figures, and unranked."""
    whole, without = rank(published), rank(published, RankRequest(without_known_faults=True))
    at = {name: number for number, name in enumerate(whole.columns)}
    before = {row[at["model"]]: row for row in whole.rows}
    sound = {model for model in table if not known_faults(model)}
    assert {row[at["model"]] for row in without.rows} == sound
    assert all(row[1:] == before[row[at["model"]]][1:] for row in without.rows)
    partial = rank(published, RankRequest(without_known_faults=True, partial=True))
    assert len(partial.rows) == 326
    for row in partial.rows:
        mine = row[at["model"]]
        for d in DIMENSIONS:
            assert row[at[d.name]] == (None if d.name in faulty(mine) else before[mine][at[d.name]]), (mine, d.name)
    assert "constants of the study" in without.notes[0]
    n = sum(len(faulty(model)) for model in table)
    assert f"{n} published figures left out, and so {326 - len(sound)} models unranked (--partial" in without.notes[-2]
    assert f"{n} published figures left out" == partial.notes[-2].removeprefix("without known faults: ")
    assert without.notes[-1].startswith(
        "of the first 10 with them, 7 stay in the first 10; changed: Hiera-B-Plus 2 to unranked, "
    )
    assert not any(model.faults for model in without.models)
    assert sum(bool(model.faults) for model in whole.models) == 326 - len(sound)


def test_protocol_differences_stay(published):
    found = rank(
        published,
        RankRequest(
            without_known_faults=True, partial=True, where="model in ('AlexNet', 'Liu2023Comprehensive-Swin-B')"
        ),
    )
    assert all(value is not None for row in found.rows for value in row)
    assert found.notes[-1] == "no figure of these models has a known fault: none was left out"


def test_where_sees_what_was_published(published):
    found = rank(published, RankRequest(without_known_faults=True, partial=True, where="calibration_error > 0.03"))
    assert {row[1] for row in found.rows} >= {"siglip-b-16", "metaclip-l14"}
    at = found.columns.index("calibration_error")
    assert {row[at] for row in found.rows} == {None}


def test_the_same_in_sql(published):
    published.sql("create or replace temp table sound as from without_known_faults()")
    by_sql = published.rows("select model, quba from quba_ranking(map {}, pool := 'sound')")
    assert by_sql == [(row[1], row[3]) for row in rank(published, RankRequest(without_known_faults=True)).rows]


def test_every_way_of_ranking_takes_it(published):
    ranking = rank(published, RankRequest(without_known_faults=True))
    place = next(row for row in ranking.rows if row[1] == "ConvNextV2-B-21k")
    explained = explain(published, "ConvNextV2-B-21k", RankRequest(without_known_faults=True))
    assert (explained.rank, explained.n_models) == (place[0], len(ranking.rows))
    assert explained.quba == pytest.approx(place[3])
    with pytest.raises(UsageError, match="leaves out its faulty figures: calibration_error, class_balance"):
        explain(published, "Hiera-B-Plus", RankRequest(without_known_faults=True))
    assert set(explain(published, "Hiera-B-Plus").faults) == {"calibration_error", "class_balance"}
    shown, found = flips(published, "EVA02-b-21k", "ConvNextV2-B-21k", RankRequest(without_known_faults=True))
    assert len(shown.rows) == len(ranking.rows)
    assert len(found) == 9
    _, standings = sensitivity(published, RankRequest(without_known_faults=True), draws=10)
    assert [each.model for each in standings] == [row[1] for row in ranking.rows]
    _, placed = rank_intervals(published, RankRequest(without_known_faults=True), BootstrapOptions(resamples=5))
    assert [each.model for each in placed] == [row[1] for row in ranking.rows]
    assert [m.model for m in published.rank(without_known_faults=True, top=3).models] == [
        row[1] for row in ranking.rows[:3]
    ]


def test_on_the_command_line(empty_store):
    done = invoke(empty_store, "rank", "--without-known-faults", "--partial", "--format", "json")
    rows = {row["model"]: row for row in json.loads(done.stdout)}
    assert rows["Hiera-B-Plus"]["class_balance"] is None
    assert rows["Hiera-B-Plus"]["accuracy"] == 0.8501
    assert "note: without known faults" in done.stderr
    table = invoke(empty_store, "rank", "--top", "2").stdout
    line = next(line for line in table.splitlines() if " Hiera-B-Plus " in line)
    assert line.split()[7:9] == ["1.30†", "92.9*†"]
    assert "†" not in next(line for line in table.splitlines() if " EVA02-b-21k " in line)
    assert "marked †" in table
    told = invoke(empty_store, "explain", "Hiera-B-Plus").stdout
    assert "class_balance has a known fault: softmax applied twice" in " ".join(told.split())
