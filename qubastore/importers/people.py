"""Import answers of people and decisions of networks from the CSV files of model-vs-human (Geirhos et al., arXiv
2106.07411), by experiment and observer.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.datasets.csv_files import read_csv
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import ImportDataError, did_you_mean
from qubastore.lake.database import Database
from qubastore.lake.rows import insert

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


_NETWORK = re.compile(rf"(?P<experiment>{'|'.join(EXPERIMENTS)})_(?P<subject>.+)_session[_-]?\d+\.csv")


_ONE_LEVEL = "0"
"""The condition of an experiment with only one; networks' files have NaN there."""


_CUES = re.compile(r"[a-z]+\d+-[a-z]+\d+\.\w+")


@dataclass(frozen=True)
class HumanImport:
    """The numbers of imported trials.

    Attributes:
        trials: (experiment, person) -> trials.
        others: Number of CSV files without trials, such as tables of accuracies.
        networks: (experiment, network) -> trials.
    """

    trials: dict[tuple[str, str], int]
    others: int
    networks: dict[tuple[str, str], int]


def import_human(store: Database, folder: Path) -> HumanImport:
    """Store the trials in a folder and its subfolders, replacing those of the same experiments and observers.

    Args:
        store: A store open for writing.
        folder: Holds `EXPERIMENT_subject-NN_session_N.csv` of people and `EXPERIMENT_NETWORK_session-N.csv` of
            networks, or one folder of them per experiment. A network's name is that in the column `subj`.

    Returns:
        What was imported.

    Raises:
        ImportDataError: with file and line, if a value is invalid; nothing is stored then.
    """
    if not folder.is_dir():
        raise ImportDataError(
            f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}",
            expected="a folder with files such as cue-conflict_subject-01_session_1.csv",
        )
    files = sorted(folder.rglob("*.csv"))
    matches = [(file, match) for file in files if (match := _FILE.fullmatch(file.name) or _network(file))]
    if not matches:
        raise ImportDataError(
            f"{folder} contains no answers of people or networks",
            expected="files such as cue-conflict_subject-01_session_1.csv or cue-conflict_resnet50_session-1.csv",
            found=f"{len(files)} CSV files" + (f", such as {files[0].name}" if files else ""),
        )
    rows: list[tuple[Any, ...]] = []
    places: dict[tuple[Any, ...], str] = {}
    people: dict[tuple[str, str], int] = defaultdict(int)
    networks: dict[tuple[str, str], int] = defaultdict(int)
    counts = {True: people, False: networks}
    for file, match in matches:
        experiment, subject = match["experiment"], match["subject"]
        if experiment not in EXPERIMENTS:
            raise ImportDataError(
                f"{file} belongs to an unknown experiment {experiment!r}",
                expected=f"one of {', '.join(EXPERIMENTS)}",
                hint=did_you_mean(experiment, EXPERIMENTS),
            )
        for line, row in read_csv(file, _COLUMNS, lower=True):
            place = f"{file}, line {line}"
            trial = _trial(row, experiment, subject, place, is_person=match.re is _FILE)
            key = trial[:4]
            if key in places:
                raise ImportDataError(
                    f"{place}: a second trial {trial[3]} of session {trial[2]} of {subject} in {experiment}",
                    expected="each trial once",
                    found=f"the first is {places[key]}",
                )
            places[key] = place
            rows.append(trial)
            counts[match.re is _FILE][experiment, trial[1]] += 1

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        for experiment, subject in (*people, *networks):
            connection.execute("delete from human_trials where experiment = ? and subject = ?", [experiment, subject])
        insert(connection, "human_trials", rows)

    store.write(work)
    return HumanImport(dict(people), len(files) - len(matches), dict(networks))


def _network(file: Path) -> re.Match[str] | None:
    """The parts of the name of a network's file of decisions; None if it is another table."""
    match = _NETWORK.fullmatch(file.name)
    if match is None:
        return None
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        header = {name.strip().lower() for name in lines.readline().split(",")}
    return match if header >= set(_COLUMNS) else None


def image_id(name: str) -> str:
    """The part of a stimulus name that identifies the image, without number, subject and condition (model-vs-human).

    >>> image_id("0000_cl_s01_bw_boat_40_n02951358_5952.JPEG"), image_id("0001_s5n_s01_0_bird_00_bird3-cat2.png")
    ('n02951358_5952.JPEG', 'bird3-cat2.png')
    """
    parts = name.split("_")
    return "_".join(parts[-2:]) if len(parts) > 1 and parts[-2].startswith("n0") else parts[-1]


def _trial(row: dict[str, str], experiment: str, subject: str, place: str, *, is_person: bool) -> tuple[Any, ...]:
    categories = label_space("16-categories").classes
    category = _one_of(row["category"], categories, "category", place)
    response = _one_of(row["object_response"], (*categories, NO_ANSWER), "object_response", place)
    # The file name of a network spells its name with dashes, whatever the name itself has.
    if (row["subj"] if is_person else row["subj"].replace("_", "-")) != subject:
        raise ImportDataError(f"{place}: subj is {row['subj']!r}", expected=f"{subject}, as in the file's name")
    image = row["imagename"]
    own = image_id(image)
    if experiment == "cue-conflict" and not _CUES.fullmatch(own):
        raise ImportDataError(
            f"{place}: imagename {image!r} does not give shape and texture", expected="as in bird3-bicycle2.png"
        )
    seconds = _seconds(row["rt"], place)
    session, trial = _number(row["session"], "session", place), _number(row["trial"], "trial", place)
    condition = _ONE_LEVEL if row["condition"].strip().lower() in ("", "nan") else row["condition"]
    return (experiment, row["subj"], session, trial, seconds, response, category, condition, image, own)


def _one_of(value: str, known: tuple[str, ...], column: str, place: str) -> str:
    if value not in known:
        raise ImportDataError(
            f"{place}: {column} is {value!r}", expected=f"one of {', '.join(known)}", hint=did_you_mean(value, known)
        )
    return value


def _number(value: str, column: str, place: str) -> int:
    if not value.strip().isdecimal():
        raise ImportDataError(f"{place}: {column} is {value!r}", expected="an integer")
    return int(value)


def _seconds(value: str, place: str) -> float | None:
    """The response time in seconds; None if there was no answer."""
    try:
        seconds = float(value) if value.strip() else math.nan
    except ValueError:
        raise ImportDataError(f"{place}: rt is {value!r}", expected="seconds, or NaN if unanswered") from None
    return seconds if math.isfinite(seconds) else None
