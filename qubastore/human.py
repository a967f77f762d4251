"""Answers of people: the CSV files of model-vs-human (Geirhos et al., arXiv 2106.07411), by experiment and person."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore import registry
from qubastore.csv_files import read_csv
from qubastore.errors import ImportDataError, did_you_mean
from qubastore.labels import label_space
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb

EXPERIMENTS = (
    "colour",
    "contrast",
    "cue-conflict",
    "edge",
    "eidolonI",
    "eidolonII",
    "eidolonIII",
    "false-colour",
    "high-pass",
    "low-pass",
    "phase-scrambling",
    "power-equalisation",
    "rotation",
    "silhouette",
    "sketch",
    "stylized",
    "uniform-noise",
)
"""The 17 experiments of model-vs-human."""

NO_ANSWER = "na"

_COLUMNS = ("subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename")
_FILE = re.compile(r"(?P<experiment>.+?)_(?P<subject>subject-?\w+?)_session[_-]?\d+\.csv")
_CUES = re.compile(r"[a-z]+\d+-[a-z]+\d+\.\w+")


@dataclass(frozen=True)
class HumanImport:
    """What was imported.

    Attributes:
        trials: (experiment, person) -> trials.
        others: CSV files that are no person's: answers of networks.
    """

    trials: dict[tuple[str, str], int]
    others: int


def import_human(store: Store, folder: Path) -> HumanImport:
    """Store the trials in a folder and below it, in place of those of the same experiments and people.

    Args:
        store: A store open for writing.
        folder: Holds `EXPERIMENT_subject-NN_session_N.csv`, or one folder of them per experiment.

    Returns:
        What was imported.

    Raises:
        ImportDataError: naming file and line, where a value does not fit; nothing is stored then.
    """
    if not folder.is_dir():
        raise ImportDataError(
            f"{folder} is {'no folder' if folder.exists() else 'not there'}",
            expected="a folder with files such as cue-conflict_subject-01_session_1.csv",
        )
    files = sorted(folder.rglob("*.csv"))
    matches = [(file, match) for file in files if (match := _FILE.fullmatch(file.name))]
    if not matches:
        raise ImportDataError(
            f"{folder} holds no answers of people",
            expected="files such as cue-conflict_subject-01_session_1.csv",
            found=f"{len(files)} CSV files" + (f", {files[0].name} for one" if files else ""),
        )
    rows: list[tuple[Any, ...]] = []
    places: dict[tuple[Any, ...], str] = {}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for file, match in matches:
        experiment, subject = match["experiment"], match["subject"]
        if experiment not in EXPERIMENTS:
            raise ImportDataError(
                f"{file} is of an unknown experiment {experiment!r}",
                expected=f"one of {', '.join(EXPERIMENTS)}",
                hint=did_you_mean(experiment, EXPERIMENTS),
            )
        for line, row in read_csv(file, _COLUMNS, lower=True):
            place = f"{file}, line {line}"
            trial = _trial(row, experiment, subject, place)
            key = trial[:4]
            if key in places:
                raise ImportDataError(
                    f"{place}: a second trial {trial[3]} of session {trial[2]} of {subject} in {experiment}",
                    expected="each trial once",
                    found=f"the first is {places[key]}",
                )
            places[key] = place
            rows.append(trial)
            counts[experiment, subject] += 1

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        for experiment, subject in counts:
            connection.execute("delete from human_trials where experiment = ? and subject = ?", [experiment, subject])
        registry.insert(connection, "human_trials", rows)

    store.write(work)
    return HumanImport(dict(counts), len(files) - len(matches))


def image_id(name: str) -> str:
    """The image's own part of the name of a stimulus, without number, subject and condition, as model-vs-human has it.

    >>> image_id("0000_cl_s01_bw_boat_40_n02951358_5952.JPEG"), image_id("0001_s5n_s01_0_bird_00_bird3-cat2.png")
    ('n02951358_5952.JPEG', 'bird3-cat2.png')
    """
    parts = name.split("_")
    return "_".join(parts[-2:]) if len(parts) > 1 and parts[-2].startswith("n0") else parts[-1]


def _trial(row: dict[str, str], experiment: str, subject: str, place: str) -> tuple[Any, ...]:
    categories = label_space("16-categories").classes
    category = _one_of(row["category"], categories, "category", place)
    response = _one_of(row["object_response"], (*categories, NO_ANSWER), "object_response", place)
    if row["subj"] != subject:
        raise ImportDataError(f"{place}: subj is {row['subj']!r}", expected=f"{subject}, as the file's name says")
    image = row["imagename"]
    own = image_id(image)
    if experiment == "cue-conflict" and not _CUES.fullmatch(own):
        raise ImportDataError(
            f"{place}: imagename {image!r} does not say shape and texture", expected="as in bird3-bicycle2.png"
        )
    seconds = _seconds(row["rt"], place)
    session, trial = _number(row["session"], "session", place), _number(row["trial"], "trial", place)
    return (experiment, subject, session, trial, seconds, response, category, row["condition"], image, own)


def _one_of(value: str, known: tuple[str, ...], column: str, place: str) -> str:
    if value not in known:
        raise ImportDataError(
            f"{place}: {column} is {value!r}", expected=f"one of {', '.join(known)}", hint=did_you_mean(value, known)
        )
    return value


def _number(value: str, column: str, place: str) -> int:
    if not value.strip().isdecimal():
        raise ImportDataError(f"{place}: {column} is {value!r}", expected="a whole number")
    return int(value)


def _seconds(value: str, place: str) -> float | None:
    """Response time; None where there was no answer."""
    try:
        seconds = float(value) if value.strip() else math.nan
    except ValueError:
        raise ImportDataError(f"{place}: rt is {value!r}", expected="seconds, or NaN without an answer") from None
    return seconds if math.isfinite(seconds) else None
