"""Two models image by image: hand-worked counts, SciPy's tests, and the commands that ask without inference."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import qubastore
from qubastore.analysis.agreement import agreement, classes, factors, flips
from qubastore.analysis.pairs import pair
from qubastore.cli.main import cli
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.errors import UsageError
from tests.support.runs import add_run

LABELS = [0, 0, 0, 1, 1, 1]


#          0  1  2  3  4  5
A_SAYS = [0, 0, 1, 1, 1, 1]  # right but for 2


B_SAYS = [0, 1, 1, 1, 0, 2]  # right on 0 and 3


def logits(answers, strength):
    made = np.zeros((len(answers), 3))
    made[np.arange(len(answers)), answers] = strength
    return made


@pytest.fixture(scope="module")
def path(empty_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "store"
    shutil.copytree(empty_store, folder)
    with qubastore.open(folder, read_only=False) as store:
        names = ["cat", "dog", "owl"]
        textures = [1, 1, 1, 0, 0, 0]
        add_run(store, logits(A_SAYS, 2), LABELS, name="a", classes=names, textures=textures)
        add_run(store, logits(B_SAYS, [1, 2, 3, 1, 4, 5]), LABELS, name="b", classes=names, textures=textures)
        add_run(store, logits(A_SAYS, 2), LABELS, name="a", classes=names, dataset="alone")
        # 40 samples, of which a alone gets 15 right and b alone 4.
        many = [0] * 40
        add_run(store, logits([0] * 30 + [1] * 10, 2), many, name="a", classes=names, dataset="many")
        add_run(store, logits([0] * 15 + [1] * 21 + [0] * 4, 2), many, name="b", classes=names, dataset="many")
    return folder


@pytest.fixture
def store(path):
    with qubastore.open(path) as opened:
        yield opened


def test_agreement_by_hand(store):
    """Over the six: both right on 0 and 3, a alone on 1, 4 and 5, none on 2, where both say dog: 3 same answers.
    kappa: observed 3/6, expected 5/6 * 2/6 + 1/6 * 4/6 = 14/36."""
    rows = {row[2]: row for row in agreement(store, [pair(store, "a", "b")]).rows}
    assert set(rows) == {"pets", "many"}
    found = rows["pets"]
    assert found[7:13] == (6, pytest.approx(5 / 6), pytest.approx(2 / 6), pytest.approx(3 / 6), 3, 0)
    assert found[13] == pytest.approx((3 / 6 - 14 / 36) / (1 - 14 / 36))
    # Three flips, all one way: 2 * (1/2)^3.
    assert found[15] == pytest.approx(0.25)


def test_mcnemar_is_scipys(store):
    rows = {row[2]: row for row in agreement(store, [pair(store, "a", "b")]).rows}
    assert rows["many"][11:13] == (15, 4)
    p = stats.binomtest(4, 19, 0.5).pvalue
    assert rows["many"][14] == pytest.approx(p, abs=1e-12)
    # By hand: twice the lower tail.
    assert p == pytest.approx(2 * sum(stats.binom.pmf(k, 19, 0.5) for k in range(5)), abs=1e-12)
    # Holm over the two rows: the smaller doubles, the larger stays unless it would be below it.
    smaller, larger = sorted([p, 0.25])
    assert sorted(row[15] for row in rows.values()) == pytest.approx([2 * smaller, max(2 * smaller, larger)])


def test_agreement_is_that_of_the_view(store):
    rows = {row[2]: row for row in agreement(store, [pair(store, "a", "b")]).rows}
    for dataset, n, kappa in store.rows("select dataset, n, error_consistency from error_consistency"):
        assert (rows[dataset][7], rows[dataset][13]) == (n, kappa), "to the last bit"


def test_flips_and_classes_and_factors(store):
    models = [pair(store, "a", "b", dataset="pets")]
    assert [(row[4], row[6], row[8], row[10]) for row in flips(store, models).rows] == [
        ("dog/00005.png", "dog", "owl", "a"),
        ("dog/00004.png", "dog", "cat", "a"),
        ("cat/00001.png", "cat", "dog", "a"),
    ]
    assert [row[4:] for row in classes(store, models).rows] == [
        ("dog", 3, 1.0, pytest.approx(1 / 3), pytest.approx(2 / 3)),
        ("cat", 3, pytest.approx(2 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3)),
    ]
    assert [row[4:7] for row in factors(store, models).rows] == [
        ("shape", "dog", 3),
        ("texture", "cat", 3),
        ("shape", "cat", 3),
        ("texture", "dog", 3),
    ]


def test_each_is_judged_by_its_own_label_where_several_are_right(path, tmp_path):
    """Classes 0 and 1 are both right; a says 0, b says 1: both are right, and the class is the first."""
    shutil.copytree(path, tmp_path / "copy")
    names = ["cat", "dog", "owl"]
    with qubastore.open(tmp_path / "copy", read_only=False) as store:
        for name, answer in (("a", 0), ("b", 1)):
            add_run(store, logits([answer] * 4, 2), [answer] * 4, name=name, classes=names, data=SEVERAL)
        store.write(
            lambda c: c.execute("update label_sets set labels = [0, 1] where dataset_id = ?", [SEVERAL.dataset_id])
        )
        models = [pair(store, "a", "b", dataset="several")]
        assert [row[4:8] for row in classes(store, models).rows] == [("cat", 4, 1.0, 1.0)]
        assert flips(store, models).rows == []


SEVERAL = Dataset(
    "several", tuple(Sample(f"{i}", i, 0) for i in range(4)), ("cat", "dog", "owl"), "own-classes", "/several"
)


def test_factors_are_over_images_that_both_have(path, tmp_path):
    """The same answers, but one has lost the images that both get wrong: no difference."""
    shutil.copytree(path, tmp_path / "copy")
    with qubastore.open(tmp_path / "copy", read_only=False) as store:
        options = {"classes": ["cat", "dog", "owl"], "dataset": "half", "textures": [1, 1, 1, 0, 0, 0]}
        add_run(store, logits(B_SAYS, 2), LABELS, name="a", **options)
        run = add_run(store, logits(B_SAYS, 2), LABELS, name="b", **options)
        store.write(lambda c: c.execute("delete from outputs where run_id = ? and sample_id in (1, 4)", [run]))
        rows = factors(store, [pair(store, "a", "b", dataset="half")]).rows
        assert {row[6] for row in rows} == {2}
        assert {row[9] for row in rows} == {0.0}


@pytest.mark.parametrize(
    ("names", "says"),
    [(("a", "a"), "a is named twice"), (("a", "c"), "there is no measured model 'c'")],
)
def test_unpaired_models_are_refused(store, names, says):
    with pytest.raises(UsageError, match=says):
        pair(store, *names)
    with pytest.raises(UsageError, match="no complete runs in common on alone"):
        pair(store, "a", "b", dataset="alone")


def asked(path, *arguments):
    done = CliRunner().invoke(cli, [*arguments, "--store", str(path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_compare_on_the_command_line(path):
    text = asked(path, "compare", "a", "b")
    assert "a: a" in text
    assert "many" in text
    assert "McNemar" in text
    # What is the same everywhere is left out of the table, and of no other format.
    assert "precision" not in text
    rows = json.loads(asked(path, "compare", "a", "b", "--format", "json"))
    assert {row["precision"] for row in rows} == {"fp32"}
    for show in ("classes", "factors", "flips"):
        assert "dog" in asked(path, "compare", "a", "b", "-d", "pets", "--show", show)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "nosuch"), "there is no measured model 'nosuch'"),
        (("a", "b", "--suite", "quba"), "--suite is for groups"),
    ],
)
def test_slips_on_the_command_line(path, arguments, says):
    done = CliRunner().invoke(cli, ["compare", *arguments, "--store", str(path)])
    assert says in done.output + str(done.exception)


def test_derived_on_the_command_line(path, tmp_path):
    shutil.copytree(path, tmp_path / "copy")
    rows = json.loads(asked(tmp_path / "copy", "ensemble", "a", "b", "--name", "both", "--format", "json"))
    assert {row["run"] for row in rows} == {"pets", "many"}
    rows = json.loads(
        asked(tmp_path / "copy", "calibrate", "-m", "a", "--fit-on", "many", "--apply-to", "pets", "--format", "json")
    )
    assert [row["run"] for row in rows] == ["pets"]
    assert rows[0]["accuracy"] == pytest.approx(5 / 6)
    text = asked(tmp_path / "copy", "sql", "select model, kind from derived_runs order by all")
    assert "a,calibrated=many  temperature" in text
