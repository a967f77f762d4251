"""Kept replicates: those of a plain loop, computed once, dropped with what they were computed from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

import qubastore
from qubastore.analysis.differences import of_models, of_runs
from qubastore.errors import StoreError
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.maintenance.copy import copy_store
from qubastore.maintenance.doctor import examine
from qubastore.maintenance.repair import repair
from qubastore.metrics.transforms import adaptive_calibration
from qubastore.ranking.intervals import rank_intervals
from qubastore.ranking.request import RankRequest
from qubastore.ranking.resampling import Resampler
from qubastore.report.collect import RESAMPLES as OF_REPORT
from qubastore.report.collect import collect
from qubastore.runs import replicates, resampled
from qubastore.runs.commit import commit_shard
from qubastore.runs.image_sets import ImageSets, image_set
from qubastore.runs.publish import publish_runs
from qubastore.runs.removal import invalidate_shard, remove_run
from qubastore.runs.replicates import Replicates, SummarisedRun
from qubastore.runs.shard import Failure
from qubastore.statistics.bootstrap import Draws
from qubastore.statistics.options import RESAMPLES, BootstrapOptions
from tests.support.runs import CLASSES, add_run, both_runs, dataset_of, write_shard

STANDARD = BootstrapOptions()
ALL = "from replicates order by run_id, metric"
N = 30


def logits(seed=0, n=N):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


LABELS = np.random.default_rng(9).integers(0, 4, N)


def rows(store):
    """Metric -> values, of the only run that has any."""
    found = store.rows(f"select metric, values {ALL}")
    return {metric: np.array(values) for metric, values in found}


def summarised(store, run_id):
    query = "select dataset_id, n_outputs, n_correct, computed_at from run_summary join runs using (run_id)"
    ((dataset_id, *summary),) = store.rows(f"{query} where run_id = ?", [run_id])
    return SummarisedRun(run_id, dataset_id, *summary)


def compare(store, *runs, options=STANDARD):
    return of_runs(store, *both_runs(store, *runs), options=options)


@pytest.fixture
def tiny(tiny_copy):
    """The folder of a store with three models, of whose replicates none are kept."""
    tiny_copy.write(lambda c: c.execute("delete from replicates"))
    tiny_copy.close()
    return tiny_copy.path


@pytest.fixture
def no_draws(monkeypatch):
    """Forbid resampling what can be kept."""

    def refuse(*_, **__):
        pytest.fail("replicates are computed although they are kept")

    def forbid():
        monkeypatch.setattr(replicates, "shares", refuse)
        monkeypatch.setattr(resampled.Confidences, "of", refuse)

    return forbid


def test_they_are_those_of_a_plain_loop(store):
    run = add_run(store, logits(), LABELS)
    Resampler(store, "quba", STANDARD).run_figures(run)
    found = rows(store)
    assert sorted(found) == ["accuracy", "ace", "class_balance", "ece"]
    images = image_set(store, summarised(store, run).dataset_id)
    hit = logits().argmax(axis=1) == LABELS
    for number in (0, 1, 500, 999):
        drawn = np.random.default_rng([0, number, images.number]).integers(0, N, N, dtype=np.uint32)
        # Position in the order of the names, for each sample in the order of the ids.
        samples = np.argsort(images.position)[drawn]
        assert found["accuracy"][number] == hit[samples].mean()
        ace = adaptive_calibration.compute(logits()[samples], LABELS[samples].astype(np.int32))
        assert found["ace"][number] == pytest.approx(ace, abs=1e-12)
    assert {len(values) for values in found.values()} == {RESAMPLES}
    assert store.rows("select distinct design, seed, images, n_samples from replicates") == [
        (1, 0, f"{images.number:08x}:{N}", N)
    ]


def test_a_ranking_computes_them_once_though_it_opens_the_store_for_reading(tiny, no_draws):
    request = RankRequest(suite="tiny")
    logged: list[str] = []
    with qubastore.open(tiny) as store:
        first = rank_intervals(store, request, log=logged.append)
        kept = store.rows(ALL)
        # Per model: the clean run, two attacked, two corrupted, two shifted and the two over mixed backgrounds.
        assert len(kept) == 3 * (9 + 3)
    assert logged == [placed.model for placed in first[1]]
    no_draws()
    with qubastore.open(tiny) as store:
        assert rank_intervals(store, request, log=pytest.fail) == first
        # Fewer resamples are the first ones.
        found = Resampler(store, "tiny", BootstrapOptions(50))
        model_id = store.rows("select model_id from models where name = 'good'")[0][0]
        fewer = found.dimensions(model_id)
        whole = Resampler(store, "tiny", STANDARD).dimensions(model_id)
        for name in ("accuracy", "ood_robustness", "calibration_error"):
            apart = fewer[name].resamples - whole[name].resamples[:50]
            np.testing.assert_allclose(apart, apart[0], atol=1e-12)
        assert store.rows(ALL) == kept


def test_a_report_is_the_same_from_kept_ones(tiny, monkeypatch):
    """The report uses the first of them: those that it would draw itself."""
    with qubastore.open(tiny) as store:
        monkeypatch.setattr(Replicates, "keep", lambda self: None)
        monkeypatch.setattr(Replicates, "resamples", property(lambda self: OF_REPORT))
        own = collect(store, suite="tiny")
        assert store.rows(ALL) == []
        monkeypatch.undo()
        first, second = collect(store, suite="tiny"), collect(store, suite="tiny", log=pytest.fail)
        assert len(store.rows(ALL)) == 36
    # float32 in base64: the same to the last bit but for sums in another order, far below its precision.
    assert [row["resamples"] for row in first["rows"]] == [row["resamples"] for row in second["rows"]]
    assert [row["resamples"] for row in own["rows"]] == [row["resamples"] for row in first["rows"]]


@pytest.mark.parametrize("options", [BootstrapOptions(seed=1), BootstrapOptions(RESAMPLES + 1)])
def test_other_seeds_and_larger_numbers_are_not_kept(store, options):
    runs = [add_run(store, logits(seed), LABELS, name=f"net{seed}") for seed in (0, 1)]
    compare(store, *runs, options=options)
    assert store.rows(ALL) == []
    compare(store, *runs)
    kept = store.rows(ALL)
    compare(store, *runs, options=options)
    assert store.rows(ALL) == kept


@pytest.mark.parametrize("keep", [("outputs", "logits"), ("outputs",)])
def test_published_with_the_run_they_are_the_same(tmp_path, keep):
    found = []
    for name, at_once in (("a", True), ("b", False)):
        with qubastore.init(tmp_path / name) as store:
            store.write(
                lambda c: insert(c, "own_suites", [("mine", "clean", "pets", "clean", "model", N, "", "pillow")])
            )
            run = add_run(store, logits(), LABELS, keep=keep, shard_size=7, complete=False)
            publish_runs(store, replicates=at_once)
            if not at_once:
                assert store.rows(ALL) == []
                Resampler(store, "quba", STANDARD).run_figures(run)
            found.append(rows(store))
    one, other = found
    # Without logits, calibration and balance are resampled only when something needs them.
    assert sorted(one) == (["accuracy", "ace", "class_balance", "ece"] if "logits" in keep else ["accuracy"])
    for metric, values in one.items():
        np.testing.assert_array_equal(values, other[metric], strict=True)


def test_images_that_fail_are_left_out_and_comparisons_use_the_common_ones(store, no_draws):
    one = add_run(store, logits(), LABELS)
    two = add_run(store, logits(1), LABELS, name="other", complete=False, shard_size=N)
    change = "delete from shards where run_id = ?"
    store.write(lambda c: c.execute(change, [two]))
    store.write(lambda c: c.execute("delete from staged_files where run_id = ?", [two]))
    failed = (Failure(N - 1, f"class/{N - 1:05d}.png", "broken"),)
    shard = replace(write_shard(store, two, 0, 0, logits(1)[:-1], LABELS[:-1]), n_samples=N, failures=failed)
    assert commit_shard(store, shard, dataset_id="x")
    publish_runs(store)
    table = compare(store, one, two)
    assert any("only one of the two could decode" in note for note in table.notes)
    # Of the common images: the run over all of them is resampled for this comparison, and nothing of it is kept.
    assert {run for run, *_ in store.rows("select distinct run_id, n_samples from replicates")} == {two}
    assert store.rows("select distinct n_samples from replicates") == [(N - 1,)]
    Resampler(store, "quba", STANDARD).run_figures(one)
    assert store.rows("select distinct n_samples from replicates order by 1") == [(N - 1,), (N,)]
    assert compare(store, one, two).rows == table.rows


def test_they_go_with_the_summary_that_they_belong_to(store):
    run = add_run(store, logits(), LABELS, shard_size=10)
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert rows(store)
    store.write(lambda c: invalidate_shard(c, run, 1, 10, 20))
    assert store.rows(ALL) == []
    assert commit_shard(store, write_shard(store, run, 1, 10, logits(5)[10:20], LABELS[10:20]), dataset_id="x")
    publish_runs(store)
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert rows(store)
    store.write(lambda c: remove_run(c, run))
    assert store.rows(ALL) == []


def test_they_are_not_kept_for_a_run_that_changed_meanwhile(store):
    run = add_run(store, logits(), LABELS)
    sets = ImageSets(store, 0)
    before = summarised(store, run)
    found = Replicates(store, STANDARD, sets)
    found.accuracies([before])
    store.write(lambda c: c.execute("update run_summary set computed_at = ?", [before.computed_at + timedelta(1)]))
    found.keep()
    assert store.rows(ALL) == []


def test_two_processes_keep_them_once(store):
    run = add_run(store, logits(), LABELS)
    several = [Replicates(store, STANDARD, ImageSets(store, 0)) for _ in range(2)]
    for each in several:
        each.accuracies([summarised(store, run)])
    for each in several:
        each.keep()
    assert len(store.rows(ALL)) == 1


@pytest.mark.parametrize("column", ["metric_version", "design"])
def test_those_of_another_release_are_replaced(store, column):
    run = add_run(store, logits(), LABELS)
    found = Replicates(store, STANDARD, ImageSets(store, 0)).accuracies([summarised(store, run)])[run]
    Resampler(store, "quba", STANDARD).run_figures(run)
    wrong = f"update replicates set values = list_transform(values, x -> 0.5), {column} = {column} - 1"
    store.write(lambda c: c.execute(wrong))
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert len(store.rows(ALL)) == 4
    np.testing.assert_array_equal(rows(store)["accuracy"], found)


def test_a_store_that_cannot_be_written_to_answers_and_says_so(tiny, monkeypatch):
    request = RankRequest(suite="tiny")
    real = Database.open

    def refused(location, *, read_only=True, refresh=True):
        if not read_only:
            raise StoreError("the disk is read-only")
        return real(location, read_only=read_only, refresh=refresh)

    with qubastore.open(tiny) as store:
        monkeypatch.setattr(Database, "open", refused)
        ranking, placed = rank_intervals(store, request)
        assert "these resamples are computed each time: the disk is read-only" in ranking.notes
        assert store.rows(ALL) == []
        table = of_models(store, "good", "poor", suite="tiny")
        assert "these resamples are computed each time: the disk is read-only" in table.notes
        monkeypatch.undo()
        kept = rank_intervals(store, request)
    assert kept[1] == placed
    assert kept[0].notes == [note for note in ranking.notes if "each time" not in note]


def test_images_composed_of_parts_have_none(store):
    data = dataset_of(LABELS, CLASSES, textures=[int(label + 1) % 4 for label in LABELS])
    names = [f"{CLASSES[s.labels[0]]}{i % 3}-{s.factors['texture']}{i % 2}.png" for i, s in enumerate(data.samples)]
    samples = tuple(
        type(s)(f"{i}/{n}", s.size, s.label, s.factors)
        for i, (s, n) in enumerate(zip(data.samples, names, strict=True))
    )
    run = add_run(
        store, logits(), LABELS, data=type(data)(data.name, samples, data.classes, data.label_space, data.root)
    )
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert store.rows(ALL) == []


def test_a_copy_takes_them_along(store, tmp_path, no_draws):
    run = add_run(store, logits(), LABELS)
    found = Resampler(store, "quba", STANDARD).run_figures(run)
    with qubastore.init(tmp_path / "copy") as target:
        for _ in range(2):
            copy_store(store, target)
            assert target.rows(ALL) == store.rows(ALL)
        no_draws()
        for name, estimate in Resampler(target, "quba", STANDARD).run_figures(run).items():
            np.testing.assert_array_equal(estimate.resamples, found[name].resamples)


@pytest.mark.parametrize(
    "damage",
    [
        "update replicates set values = values[:10]",
        "update replicates set n_samples = n_samples - 1",
        "update replicates set values = list_transform(values, x -> x / 2) where metric = 'accuracy'",
        "insert into replicates from replicates",
        "update run_summary set n_correct = n_outputs + 1",
        "delete from run_summary",
    ],
)
def test_the_doctor_finds_those_that_do_not_belong_to_their_run(store, damage):
    run = add_run(store, logits(), LABELS)
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert list(examine(store, deep=True)) == []
    store.write(lambda c: c.execute(damage))
    faults = list(examine(store, deep=True))
    assert "stale_replicates" in {fault.check for fault in faults}
    repair(store, faults)
    assert list(examine(store, deep=True)) == []
    assert store.rows(ALL) == []


def test_the_draws_of_a_set_of_images_are_made_once(store, monkeypatch):
    made: list[int] = []
    real = Draws.of

    def counted(n, *options):
        made.append(n)
        return real(n, *options)

    monkeypatch.setattr(Draws, "of", counted)
    replicates._standard_draws.cache_clear()
    for seed in range(3):
        add_run(store, logits(seed), LABELS, name=f"net{seed}", complete=False)
    publish_runs(store, replicates=True)
    assert len(made) == 1
    # No suite has their dataset, so only their accuracies are resampled in advance.
    assert [row[1] for row in store.rows(ALL)] == 3 * ["accuracy"]


def test_a_run_in_two_roles_is_kept_once(store):
    run = add_run(store, logits(), LABELS)
    found = Replicates(store, STANDARD, ImageSets(store, 0))
    found.accuracies(2 * [summarised(store, run)])
    found.keep()
    assert len(store.rows(ALL)) == 1


def test_what_is_undefined_is_not_kept(store):
    """Imported predictions have no probabilities, so that their class balance is null."""
    run = add_run(store, logits(), LABELS, keep=("outputs",))
    store.write(lambda c: c.execute("update outputs set label_probability = null"))
    store.write(lambda c: c.execute("update run_metrics set value = null where metric = 'class_balance'"))
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert sorted(rows(store)) == ["accuracy", "ece"]


def test_few_decoded_images_are_no_fault(store):
    """Some resamples draw none of them: their figures are undefined, and no warning is printed."""
    run = add_run(store, logits(), LABELS, complete=False)
    store.write(lambda c: [c.execute(f"delete from {t} where run_id = ?", [run]) for t in ("shards", "staged_files")])
    failures = tuple(Failure(i, f"class/{i:05d}.png", "broken") for i in range(3, N))
    shard = replace(write_shard(store, run, 0, 0, logits()[:3], LABELS[:3]), n_samples=N, failures=failures)
    assert commit_shard(store, shard, dataset_id="x")
    publish_runs(store)
    Resampler(store, "quba", STANDARD).run_figures(run)
    found = rows(store)
    assert 0 < np.isnan(found["accuracy"]).mean() < 0.1
    for values in found.values():
        np.testing.assert_array_equal(np.isnan(values), np.isnan(found["accuracy"]))
    assert [fault.check for fault in examine(store, deep=True) if fault.check == "stale_replicates"] == []


def test_a_lost_file_of_them_is_no_loss(store):
    run = add_run(store, logits(), LABELS)
    before = Resampler(store, "quba", STANDARD).run_figures(run)
    (file,) = (store.data_path / "main" / "replicates").rglob("*.parquet")
    file.unlink()
    again = Resampler(store, "quba", STANDARD)
    after = again.run_figures(run)
    np.testing.assert_array_equal(before["ece"].resamples, after["ece"].resamples)
    assert "these resamples are computed each time" in again.notes[0]
    faults = list(examine(store, deep=True))
    assert [fault.check for fault in faults] == ["missing_files", "not_examined"]
    assert repair(store, faults) == ["forgot 1 files of replicates, which are computed again when they are wanted"]
    assert list(examine(store, deep=True)) == []
    Resampler(store, "quba", STANDARD).run_figures(run)
    assert len(rows(store)) == 4
