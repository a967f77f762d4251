"""Answers of people: the same images as models saw, and files that hold no answers."""

from __future__ import annotations

import pytest

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.errors import ImportDataError
from qubastore.importers.people import EXPERIMENTS, image_id, import_human
from tests.importers.second_study import ANSWERS, people
from tests.support.runs import add_run


def test_models_meet_people_over_the_same_images(store, tmp_path):
    """The person is right on 1 and 4, the network on 1, 2 and 4: both 2, network alone 1, person alone 0, none 1.
    Observed 3/4, expected 3/4 * 1/2 + 1/4 * 1/2 = 1/2, kappa (3/4 - 1/2) / (1/2) = 1/2."""
    people(tmp_path, ANSWERS)
    import_human(store, tmp_path)
    names = [f"{row[1]}/000{i}_skt_dnn_0_{row[3][15:]}" for i, row in enumerate(ANSWERS, start=1)]
    data = Dataset(
        "sketch", tuple(Sample(n, 1, int(n.startswith("dog"))) for n in names), ("cat", "dog"), "own-classes", "/s"
    )
    add_run(store, [[1, 0], [1, 0], [1, 0], [0, 1]], [0, 0, 1, 1], data=data)
    assert store.rows(
        "select dataset, level, model_a, observer_a, model_b, observer_b, n, both_right, only_a, only_b, both_wrong,"
        " same_answer from agreement"
    ) == [("sketch", "0", "net", "model", "subject-01", "person", 4, 2, 1, 0, 1, 2)]
    assert store.rows(
        "select observed_consistency, expected_consistency, error_consistency from error_consistency"
    ) == [(0.75, 0.5, 0.5)]
    assert store.rows("select n, n_unanswered, accuracy, response_seconds from human_accuracy") == [(4, 1, 0.5, 0.5)]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("0000_cl_s01_bw_boat_40_n02951358_5952.JPEG", "n02951358_5952.JPEG"),
        ("0001_s5n_s01_0_bird_00_bird3-bird2.png", "bird3-bird2.png"),
        ("airplane1-bicycle2.png", "airplane1-bicycle2.png"),
        ("0001_skt_s01_0_cat_00_cat-n02691151_1.png", "1.png"),
    ],
)
def test_the_images_own_part_of_a_name(name, own, store):
    """As model-vs-human has it; the view takes the same part of a key."""
    assert image_id(name) == own
    query = "select regexp_extract('boat/' || ?, '(?:^|[_/])(n0[^_/]*_[^_/]+|[^_/]+)$', 1)"
    assert store.rows(query, [name]) == [(own,)]


def test_there_are_17_experiments():
    assert len(set(EXPERIMENTS)) == 17


BAD = [
    (lambda r: r.__setitem__(1, ("owl", *r[1][1:])), "line 3: object_response is 'owl'"),
    (lambda r: r.__setitem__(0, (r[0][0], "lion", *r[0][2:])), "line 2: category is 'lion'"),
]


@pytest.mark.parametrize(("break_", "says"), BAD, ids=["response", "category"])
def test_bad_answers_name_file_and_line(store, tmp_path, break_, says):
    rows = list(ANSWERS)
    break_(rows)
    people(tmp_path, ANSWERS, subject="subject-02")
    people(tmp_path, rows)
    with pytest.raises(ImportDataError, match=says) as caught:
        import_human(store, tmp_path)
    assert "sketch_subject-01_session_1.csv" in str(caught.value)
    assert store.rows("select count(*) from human_trials") == [(0,)]


def test_files_that_are_no_answers(store, tmp_path):
    with pytest.raises(ImportDataError, match="does not exist"):
        import_human(store, tmp_path / "none")
    with pytest.raises(ImportDataError, match="contains no answers of people"):
        import_human(store, tmp_path)
    people(tmp_path / "a", ANSWERS, experiment="scetch")
    with pytest.raises(ImportDataError, match="unknown experiment 'scetch'") as caught:
        import_human(store, tmp_path / "a")
    assert "sketch" in str(caught.value)
    people(tmp_path / "b", [(*row[:3], "7.png") for row in ANSWERS], experiment="cue-conflict")
    with pytest.raises(ImportDataError, match="does not give shape and texture"):
        import_human(store, tmp_path / "b")
    people(tmp_path / "c", ANSWERS)
    file = tmp_path / "c" / "sketch_subject-01_session_1.csv"
    text = file.read_text().splitlines()
    file.write_text("\n".join([*text, text[-1]]))
    with pytest.raises(ImportDataError, match="line 6: a second trial 4 of session 1") as caught:
        import_human(store, tmp_path / "c")
    assert "line 5" in str(caught.value)
    file.write_text("\n".join(text).replace("subject-01,1,2", "subject-09,1,2"))
    with pytest.raises(ImportDataError, match="line 3: subj is 'subject-09'"):
        import_human(store, tmp_path / "c")
    file.write_text("subj,trial\n")
    with pytest.raises(ImportDataError, match="has no column 'session'"):
        import_human(store, tmp_path / "c")


def test_people_imported_again_take_the_place_of_what_was_there(store, tmp_path):
    people(tmp_path / "raw" / "sketch", ANSWERS)
    people(tmp_path / "raw" / "sketch", ANSWERS[:3], subject="subject-02")
    (tmp_path / "raw" / "sketch" / "sketch_resnet50_session-1.csv").write_text("subj\nresnet50\n")
    found = import_human(store, tmp_path / "raw")
    assert found.trials == {("sketch", "subject-01"): 4, ("sketch", "subject-02"): 3}
    assert found.others == 1
    import_human(store, tmp_path / "raw")
    assert store.rows("select count(*) from human_trials") == [(7,)]
    # Two people: both right on 1, both wrong on 3, the first wrong on 2 as the second: consistent throughout.
    assert store.rows("select n, error_consistency from error_consistency") == [(3, 1.0)]
