"""Networks' decisions in files of model-vs-human, in the same views as people."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from qubastore.cli.main import cli
from qubastore.errors import ImportDataError
from qubastore.importers.people import import_human
from tests.importers.second_study import DECISIONS, network, people


def test_networks_decisions_stand_beside_people(store, tmp_path):
    """Of four images whose cues differ, two for the shape, one for the texture, one for neither: 2 / 3. The person
    decides for the shape wherever the network does not: both right on dog1 alone, and on dog2, whose cues agree."""
    network(tmp_path / "cue-conflict", "vit_tiny", DECISIONS)
    rows = [("na", "cat", "0", "0001_c_s01_0_cat_00_cat1-dog1.png")]
    rows += [(shape, shape, "0", f"000{i}_c_s01_0_{shape}_00_{image}") for i, (_, shape, image) in enumerate(DECISIONS)]
    people(tmp_path / "cue-conflict", [rows[0], *rows[2:]], experiment="cue-conflict")
    found = import_human(store, tmp_path)
    assert found.networks == {("cue-conflict", "vit_tiny"): 5}
    assert found.trials == {("cue-conflict", "subject-01"): 5}
    assert store.rows("select model, observer, n_outputs, n, shape_bias from shape_bias order by observer") == [
        ("vit_tiny", "network", 5, 4, pytest.approx(2 / 3)),
        ("people", "people", 5, 4, 1.0),
        ("subject-01", "person", 5, 4, 1.0),
    ]
    query = "select model_a, observer_a, model_b, observer_b, n, both_right, only_a, only_b, both_wrong from agreement"
    # cat1: the network alone; cat2 and cat3: the person alone; dog1 and dog2: both.
    assert store.rows(query) == [("vit_tiny", "network", "subject-01", "person", 5, 2, 1, 2, 0)]
    assert store.rows("select distinct subject from human_accuracy") == [("subject-01",)]
    network(tmp_path / "cue-conflict", "vit_tiny", DECISIONS[:2])
    import_human(store, tmp_path)
    assert store.rows("select count(*) from human_trials where subject = 'vit_tiny'") == [(2,)]


def test_a_folder_of_networks_alone(store, tmp_path):
    network(tmp_path, "resnet50", DECISIONS)
    (tmp_path / "mae.csv").write_text("subj,dataset_name,metric_name,performance\n")
    found = import_human(store, tmp_path)
    assert (found.trials, found.networks, found.others) == ({}, {("cue-conflict", "resnet50"): 5}, 1)
    result = CliRunner().invoke(cli, ["import", "human", str(tmp_path), "--store", str(store.path)])
    assert "cue-conflict: 5 trials of 1 network\nleft out: 1 other CSV files, which contain no trials" in result.output


def test_a_network_under_another_networks_file_name(store, tmp_path):
    network(tmp_path, "resnet50", DECISIONS)
    (tmp_path / "cue-conflict_resnet50_session-1.csv").rename(tmp_path / "cue-conflict_vit_session-1.csv")
    with pytest.raises(ImportDataError, match="line 2: subj is 'resnet50'"):
        import_human(store, tmp_path)
