"""Every view has a hand-worked case and a whole header, and comes after what it reads."""

from __future__ import annotations

import pytest

import qubastore
from qubastore.lake.names import parse
from qubastore.lake.views import all_views, needed_views, views_over
from qubastore.metrics.suites import BUILT_IN
from tests.attachments import test_attached_tables
from tests.derived import test_derived, test_probes
from tests.importers import (
    test_imagenet_x,
    test_known_figures,
    test_label_sets,
    test_networks_decisions,
    test_people,
)
from tests.lake import test_effective_robustness, test_invariance
from tests.lake.test_suite_views import WHOLE_CASES
from tests.lake.test_views import CASES
from tests.maintenance import test_progress

ELSEWHERE = {
    "agreement": test_people.test_models_meet_people_over_the_same_images,
    "attached_dimensions": test_attached_tables.test_figures_of_tables_arrive_as_they_are,
    "derived_runs": test_derived.test_a_changed_source_empties_what_came_from_it,
    "effective_robustness": test_effective_robustness.test_models_on_a_line_have_no_effective_robustness,
    "error_consistency": test_people.test_models_meet_people_over_the_same_images,
    "human_accuracy": test_people.test_models_meet_people_over_the_same_images,
    "observer_trials": test_networks_decisions.test_networks_decisions_stand_beside_people,
    "human_cues": test_known_figures.test_people_in_every_view_are_those_of_their_files,
    "imagenet_x_accuracy": test_imagenet_x.test_imagenet_x_by_hand,
    "imagenet_x_error_ratio": test_imagenet_x.test_imagenet_x_by_hand,
    "invariance": test_invariance.test_invariance_by_hand,
    "label_set_accuracy": test_label_sets.test_real_labels_come_with_official_images,
    "run_progress": test_progress.test_progress_by_hand,
    "probe_accuracy": test_probes.test_a_probe_reaches_what_scikit_learn_reaches,
}
"""Views whose hand-worked rows need more than a run, and the test that has them."""


def test_every_view_has_a_case():
    assert set(all_views()) == {*CASES, *WHOLE_CASES, *ELSEWHERE}
    assert all(map(callable, ELSEWHERE.values()))


@pytest.fixture(scope="module")
def opened(empty_store):
    with qubastore.open(empty_store) as store:
        yield store


@pytest.mark.parametrize("view", all_views().values(), ids=lambda view: view.name)
def test_header_is_whole(view, opened):
    assert view.summary
    assert "Grain: One row per " in view.comment
    required = [each for each in view.parameters or () if ":=" not in each]
    call = view.name if view.parameters is None else f"{view.name}({'map {}' if required else ''})"
    assert list(view.columns) == opened.sql(f"from {call} limit 0").columns
    assert all(meaning.strip() for meaning in view.columns.values())


def test_headers_are_comments_in_the_store(opened):
    stored = dict(opened.rows("select view_name, comment from duckdb_views() where database_name = 'store'"))
    assert stored == {view.name: view.comment for view in all_views().values() if view.parameters is None}


def test_views_come_after_what_they_read(opened):
    order = [view.name for view in opened.ask(lambda connection: needed_views(connection, all_views()))]
    assert set(order) == set(all_views())
    assert order.index("named_runs") < order.index("complete_runs") < order.index("accuracy")
    assert order.index("reliability_bins") < order.index("calibration")
    assert order.index("measured_dimensions") < order.index("quality_dimensions")
    assert order.index("rankable") < order.index("quba_contributions") < order.index("quba_ranking")


def test_views_over_rows_in_the_code_read_what_they_say(opened):
    known = [view for view in all_views().values() if view.tables is not None]
    assert {view.name for view in known if view.tables} == {"suites"}
    trees = opened.ask(lambda connection: parse(connection, [view.select for view in known]))
    assert [view.reads(tree) for view, tree in zip(known, trees, strict=True)] == [view.tables for view in known]


def test_suites_arrive_as_they_stand_in_the_code(opened):
    """They travel as one text: whole numbers and nulls come back as such."""
    roles = [
        (suite.name, r.role, r.dataset, r.condition, r.framing, r.n_samples, r.label_space, suite.decoder)
        for suite in BUILT_IN.values()
        for r in suite.roles
    ]
    assert {type(row[5]) for row in roles} == {int, type(None)}
    assert opened.rows("from suites") == roles


def test_views_over_a_view(opened):
    over = [view.name for view in opened.ask(lambda connection: views_over(connection, "attached_dimensions"))]
    assert sorted(over) == [
        "quality_dimensions",
        "quba_contributions",
        "quba_ranking",
        "rankable",
        "trajectory",
        "without_known_faults",
    ]
    assert over.index("rankable") < over.index("quba_contributions") < over.index("quba_ranking")


def test_a_macro_reads_its_default_pool():
    macro = all_views()["quba_contributions"]
    assert macro.default_pool == "rankable"
    named, placed = {"alias": "POOL", "n": 1}, {"alias": "", "n": 2}
    assert macro.pool_argument([placed, named]) is named
    assert macro.pool_argument([{"alias": ""}] * 5 + [placed]) is placed
    assert macro.pool_argument([placed, {"alias": "partial"}]) is None
