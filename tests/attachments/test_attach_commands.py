"""The commands that attach, detach and export; the sandbox of `sql` with something attached."""

from __future__ import annotations

from qubastore.attachments.attach import attach
from tests.support.commands import command, run_cli


def test_attached_databases_are_sandboxed_too(tiny_suite, timm, store):
    attach(store, str(tiny_suite.path), "lab")
    attach(store, str(timm / "results-imagenet.csv"), "one")
    assert "2" in run_cli(store, "sql", "select count(*) from one.results_imagenet")
    assert "30" in run_cli(store, "sql", "select count(*) from lab.runs")
    for query in (
        f"from read_csv('{timm}/results-imagenet.csv')",
        f"from '{timm}/results-imagenet-r.csv'",
        "from __ducklake_metadata_lab.ducklake_table",
        f"copy (select 1) to '{timm}/new.csv'",
        f"attach '{tiny_suite.path}/catalog.sqlite' as x",
    ):
        failed = command("sql", query, "--store", store.path)
        assert failed.returncode == 1, query
        assert "Traceback" not in failed.stderr


def test_the_commands_say_what_they_did(tiny_suite, timm, store, tmp_path):
    text = run_cli(store, "attach", tiny_suite.path, "--as", "lab")
    assert "3 models in suite tiny" in text
    assert "next: qubastore rank --source all --suite tiny\n" in text
    text = run_cli(store, "attach", timm, "--column", "parameters_m=1.5")
    assert "timm.results_imagenet_r" in text
    assert "2 models in suite quba\nnext: qubastore rank --source all --partial\n" in text
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    assert "none of it can be ranked" in run_cli(store, "attach", tmp_path / "notes.csv")
    assert "lab" in run_cli(store, "rank", "--suite", "tiny", "--source", "lab", "--format", "csv")
    assert "detached lab" in run_cli(store, "detach", "lab")
    assert tiny_suite.path.exists()
    text = run_cli(tiny_suite, "export", tmp_path / "out")
    assert "3 models, 30 complete runs" in text
    for arguments in (("correlate", "--source", "timm"), ("rank", "--level", "0.9"), ("rank", "--draws", "5")):
        result = command(*arguments, "--store", store.path)
        assert result.returncode == 2, arguments
