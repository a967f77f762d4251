"""Make a small store with each schema that there ever was, by the code of its time.

For each schema, the last commit of the main line at which it was the newest one is checked out into a temporary git
worktree, and its own command line makes a store: two tiny models on generated images, with outputs, logits, features,
imported predictions, a suite, and whatever else that release knew (corruptions, cue conflict, calibration, ensembles,
probes, people, attachments). The store is packed as `schema-N.tar.xz` beside this file, and `expected.json` gets what
the same code answered to `QUESTIONS` and how it ranked. `tests/lake/test_old_stores.py` asks the same of the store once
it is migrated.

    python tests/lake/stores/make.py            # all of them
    python tests/lake/stores/make.py 3 5        # these schemas
    python tests/lake/stores/make.py --check    # make them, compare their answers with expected.json, write nothing

It needs the git history, and an environment in which the newest release runs: the old ones pin the same DuckDB. What a
store answers is the same each time; its timestamps and speeds are not.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
WORK = Path(tempfile.gettempdir()) / "qubastore-old-stores"
"""Where stores are made: always the same folder, because a store remembers where its images were."""

COMMITS = {
    1: "18cc7ad8aa97ee96cb8d883ed408c5e4ace4807d",
    2: "51e6962d4e7ee7a004b4fd67c092fdcf6e27a221",
    3: "7e2a60e040509dd7d6fb22c2e1ee1314c9fb313d",
    4: "afd944b828987592f3a3380f07c57a81af38a353",
    5: "1f2d5c7ca13553f6775408eb9da31976f2944eb6",
    6: "4ae78ade455e01e76895fdd7805cd2c7f6f010b6",
    7: "354b2177bff593acf117b997ee95f4cede81ced0",
    8: "d9de776d1f61d47788613c4baaf61baffb50756b",
    9: "50b6b16b92ebea07ca4062c0aac9a1fd0bf33b7d",
    10: "e5dfb4532a92f650ade4255b2830ced60b787336",
    11: "37c01c90bcd376ac16cee65a6e5c4843d7f1a336",
}
"""Schema -> the last commit of the main line at which it was the newest; for 6, the last before runs were published."""

STEPS: tuple[tuple[int, str], ...] = (
    (1, "init"),
    (1, "ingest --config suite.toml"),
    (1, "ingest -m python:models.py:coarse -d pets=images/pets --keep outputs,logits,features"),
    (1, "import predictions predictions.csv --model elsewhere --dataset pets"),
    (3, "calibrate --model python:models.py:coarse --fit-on RUN --apply-to RUN"),
    (3, "ensemble python:models.py:fine python:models.py:coarse --dataset pets"),
    (3, "ingest -m python:models.py:fine -d pets=images/pets -c scale(1.25)"),
    (3, "ingest -m python:models.py:fine -d task=images/task,layout=splits"),
    (3, "probe -m python:models.py:fine --task task --method linear --method knn"),
    (3, "import human human"),
    (5, "attach figures.csv --as paper --column model=network --column accuracy=top1/100"),
    (9, "ingest -m python:models.py:fine -d pets=images/pets --decoder torchvision"),
    (10, "probe -m python:models.py:fine --task task --method linear --save-as head"),
    (
        11,
        "ingest -m python:models.py:coarse,name=net,step=1 -m python:models.py:fine,name=net,step=2"
        " -d pets=images/pets",
    ),
)
"""Schema that first had it -> the command. RUN stands for the clean run of `coarse` over `pets`."""

_RUN = "model, dataset, condition"
_ROWS = (
    "select model, dataset, condition, count(*) as n, md5(string_agg(row({columns})::varchar, '' order by sample_id))"
)
_OUTPUTS = (
    "label, prediction, confidence, label_probability, label_logit, logsumexp, sum_squared_probability, top5_class"
)
QUESTIONS: dict[str, tuple[int, str]] = {
    "runs": (1, f"select {_RUN}, precision, framing, origin, n_samples, complete from run_details"),
    "outputs": (
        1,
        f"{_ROWS.format(columns=_OUTPUTS)} as md5 from outputs join run_details using (run_id) group by all",
    ),
    "logits": (1, f"{_ROWS.format(columns='values')} as md5 from logits join run_details using (run_id) group by all"),
    "features": (
        1,
        f"{_ROWS.format(columns='values')} as md5 from features join run_details using (run_id) group by all",
    ),
    "metrics": (1, f"select {_RUN}, metric, value from metric_values"),
    "classes": (1, f"select {_RUN}, class_name, n, accuracy from class_accuracy"),
    "bins": (1, f"select {_RUN}, bin, n, accuracy, confidence from reliability_bins"),
    "dimensions": (1, "select model, dimension, value from quality_dimensions where suite = 'pets'"),
    "published": (
        1,
        "select model, dimension, value from quality_dimensions where model in ('ConvNext-T', 'EVA02-b-21k')",
    ),
    "costs": (2, "select name, parameters, macs, activations from models"),
    "corruptions": (2, "select model, corruption, severity, accuracy from corruption_accuracy"),
    "relative": (
        2,
        "select model, role, dataset, condition, relative_accuracy from relative_accuracy where suite = 'pets'",
    ),
    "cues": (2, "select model, category, n, shape_bias from shape_bias_by_category where model like 'python:%'"),
    "invariance": (3, f"select {_RUN}, accuracy, clean_accuracy, consistency from invariance"),
    "probes": (3, "select model, task, method, chosen, val_accuracy, test_accuracy from probe_accuracy"),
    "temperatures": (3, "select fold, temperature, n_fitted, nll_before, nll_after from temperatures"),
    "derived": (3, "select model, dataset, kind from derived_runs"),
    "people": (3, "select experiment, subject, n, n_unanswered, accuracy from human_accuracy"),
    "agreement": (3, "select model_a, model_b, dataset, condition, n, only_a, only_b, same_answer from agreement"),
    "consistency": (3, "select model_a, model_b, dataset, condition, error_consistency from error_consistency"),
    "attachments": (5, "select name, kind, ranked_table, columns from attachments"),
    "decoders": (9, "select model, dataset, decoder, accuracy from accuracy"),
    "heads": (10, "select name, task, method, chosen, num_classes from probe_heads join models using (model_id)"),
    "checkpoints": (11, "select training, step, model, dimension, value from trajectory where suite = 'pets'"),
}
"""Name -> schema that first could answer it, and the question; rows are sorted by all their columns."""


def main() -> None:
    """Make the stores that the command line names; all of them where it names none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemas", nargs="*", type=int, metavar="N", help="schemas; all where none is given")
    parser.add_argument("--check", action="store_true", help="compare answers with expected.json; write nothing")
    arguments = parser.parse_args()
    notes = HERE / "expected.json"
    expected: dict[str, Any] = json.loads(notes.read_text("utf-8")) if notes.exists() else {}
    differing = []
    for schema in arguments.schemas or COMMITS:
        with worktree(COMMITS[schema]) as code:
            answers = make(schema, code)
        if arguments.check:
            old = expected.get(str(schema), {})
            differing += [f"{schema}: {name}" for name in answers if answers[name] != old.get(name)]
        else:
            size = pack(HERE / f"schema-{schema}.tar.xz")
            print(f"schema {schema}: {size / 1024:.0f} KB, {sum(map(len, answers.values()))} rows expected", flush=True)
            expected[str(schema)] = answers
            write_expected(notes, expected)
    shutil.rmtree(WORK, ignore_errors=True)
    if differing:
        sys.exit("other answers than in expected.json: " + ", ".join(differing))


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A commit of this repository, checked out for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="qubastore-worktree-") as folder:
        path = Path(folder) / "code"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def make(schema: int, code: Path) -> dict[str, list[Any]]:
    """Make a store in `WORK` with the command line of a checkout; return what it answers."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    write_inputs(schema)
    for since, step in STEPS:
        if since <= schema:
            words = [clean_run(code) if word == "RUN" else word for word in step.split()]
            options = ["--num-gpus", "0", "--num-cpus", "1", "--batch-size", "16"] if words[0] == "ingest" else []
            command(code, *words, *options)
    answers: dict[str, list[Any]] = {}
    for name, (since, question) in QUESTIONS.items():
        if since <= schema:
            answers[name] = [list(row.values()) for row in rows(code, "sql", f"{question} order by all")]
    answers["ranking"] = rows(code, "rank", "--suite", "pets", "--partial")
    return answers


def command(code: Path, *words: str) -> str:
    """Run a command of a checkout on the store in `WORK`; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(code), "QUBASTORE_STORE": "store", "RAY_USAGE_STATS_ENABLED": "0"}
    argv = [sys.executable, "-m", "qubastore.cli.main", *words]
    found = subprocess.run(argv, cwd=WORK, env=environment, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"qubastore {' '.join(words)}: exit code {found.returncode}\n{found.stderr}")
    return found.stdout


def rows(code: Path, *words: str) -> list[dict[str, Any]]:
    """The rows that a command prints as JSON, which has every digit."""
    found: list[dict[str, Any]] = json.loads(command(code, *words, "--format", "json"))
    return found


def clean_run(code: Path) -> str:
    """The id of the clean run of `coarse` over `pets`."""
    query = "select run_id from run_details where model = 'python:models.py:coarse' and dataset = 'pets'"
    return str(rows(code, "sql", f"{query} and condition = 'clean'")[0]["run_id"])


def write_inputs(schema: int) -> None:
    """Images, models, suite, predictions and answers of people, the same each time."""
    suite = "suite-1.toml" if schema == 1 else "suite.toml"
    shutil.copyfile(HERE / suite, WORK / "suite.toml")
    shutil.copyfile(HERE / "models.py", WORK / "models.py")
    (WORK / "figures.csv").write_text("network,top1,shape_bias\nX,81.5,0.31\nY,79.25,0.4\n")
    generator = np.random.default_rng(0)
    pictures = dict(zip(("ant", "bee", "cow"), runpy.run_path(str(HERE / "models.py"))["PICTURES"], strict=True))

    def write(path: Path, picture: str, noise: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = 255 * np.clip(np.array(pictures[picture]) + generator.normal(0, noise, (4, 4, 3)), 0, 1)
        size = (int(generator.integers(18, 24)), int(generator.integers(18, 24)))
        Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).save(path)

    images = WORK / "images"
    folders = {"pets": (10, 0.35), "same": (4, 0.4), "random": (4, 0.45), "corrupted/noise/1": (4, 0.4)}
    folders |= {"task/train": (8, 0.25), "task/val": (4, 0.25), "task/test": (6, 0.25)}
    for folder, (count, noise) in folders.items():
        for name in pictures:
            for index in range(count):
                write(images / folder / name / f"{index}.png", name, noise)
    for shape in pictures:
        for texture in pictures:
            for index in (1, 2):
                mixed = shape if generator.uniform() < 0.4 else texture
                write(images / "cue" / shape / f"{shape}{index}-{texture}{index}.png", mixed, 0.2)
    with (WORK / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "predicted_class", "predicted_probability"])
        for path in sorted((images / "pets").rglob("*.png")):
            guess = int(generator.integers(3))
            writer.writerow([path.relative_to(images / "pets").as_posix(), guess, round(generator.uniform(0.34, 1), 4)])
    (WORK / "human").mkdir()
    for subject in ("subject-01", "subject-02"):
        with (WORK / "human" / f"sketch_{subject}_session_1.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename"])
            for trial, category in enumerate(("bear", "cat", "dog", "bear"), start=1):
                response = str(generator.choice(["bear", "cat", "dog", "na"]))
                seconds = "nan" if response == "na" else 0.5 + trial / 8
                image = f"{trial:04d}_sk_{subject}_0_{category}_00_{category}{trial}.png"
                writer.writerow([subject, 1, trial, seconds, response, category, 0, image])


def pack(archive: Path) -> int:
    """Pack the store in `WORK` as small as it gets, with the table that it attaches; return the archive's bytes."""
    with contextlib.closing(sqlite3.connect(WORK / "store" / "catalog.sqlite")) as catalog:
        catalog.execute("pragma wal_checkpoint(truncate)")
        catalog.execute("vacuum")
        catalog.execute("pragma wal_checkpoint(truncate)")
    for leftover in ("catalog.sqlite-wal", "catalog.sqlite-shm", "commit.lock"):
        (WORK / "store" / leftover).unlink(missing_ok=True)

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:xz", preset=9) as file:
        for path in sorted([*(WORK / "store").rglob("*"), WORK / "figures.csv"]):
            if path.is_file():
                file.add(path, path.relative_to(WORK).as_posix(), filter=anonymous)
    return archive.stat().st_size


def write_expected(path: Path, expected: dict[str, Any]) -> None:
    """Write expected.json: a line per row, so that a change can be read in a diff."""
    schemas = []
    for schema in sorted(expected):
        answers = [
            f'  "{name}": [\n' + ",\n".join(f"   {json.dumps(row)}" for row in found) + "\n  ]"
            for name, found in expected[schema].items()
        ]
        schemas.append(f' "{schema}": {{\n' + ",\n".join(answers) + "\n }")
    path.write_text("{\n" + ",\n".join(schemas) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
