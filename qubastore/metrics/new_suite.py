"""A suite for a folder of images, written as a commented TOML file for `qubastore ingest --config`."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qubastore.conditions import CORRUPTIONS
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.folders import check_folder, class_folders, readable
from qubastore.datasets.locating import own_datasets
from qubastore.errors import DatasetError, UsageError
from qubastore.metrics.suites import BUILT_IN


@dataclass(frozen=True)
class NewSuite:
    """A new suite.

    Attributes:
        name: Its name, which is that of the task.
        text: The file.
        notes: What a user should know of the images.
    """

    name: str
    text: str
    notes: tuple[str, ...]


def new_suite(folder: str | os.PathLike[str], name: str | None = None, *, file: Path | None = None) -> NewSuite:
    """Look at a folder of images, and write a suite with all that can be measured from them alone.

    Args:
        folder: A folder with train and test (and perhaps val), each with class folders; or class folders.
        name: Name of the suite and of its dataset; None means that of the folder.
        file: Where the file will be, which paths are relative to; None means the current folder.

    Raises:
        UsageError: if the name is taken or not usable.
        DatasetError: if the folder has another layout.
    """
    root = Path(folder)
    chosen = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", root.resolve().name).strip("-.") or "images"
    check_folder(chosen, root, expected="train and test with class folders, or class folders")
    if chosen in BUILT_IN or not re.fullmatch(r"[\w.-]+", chosen):
        raise UsageError(
            f"{chosen!r} cannot be the name of a suite" if chosen not in BUILT_IN else f"{chosen} is a built-in suite",
            expected="letters, digits, and any of . _ -",
            hint="--name NAME",
        )
    with readable(chosen):
        folders = set(class_folders(root))
    others = sorted(folders & {"val", "valid", "validation", "dev", "eval", "testing"} - {"val"})
    if "train" in folders and "test" not in folders and (others or "val" in folders):
        raise DatasetError(
            f"{root} has train and {(others or ['val'])[0]}, and no test",
            expected="train and test, and optionally val to choose hyperparameters on",
            hint="call the images to test on test: a probe is fitted on train and val",
        )
    layout = "splits" if {"train", "test"} <= folders else "holdout"
    datasets = own_datasets(chosen, root, layout)
    base = (file.parent if file else Path()).resolve()
    unread = sorted(folders - {"train", "val", "test"}) if layout == "splits" else []
    notes = tuple(dict.fromkeys(note for data in datasets for note in data.notes))
    notes += (f"not read: {', '.join(unread)}: only train, val and test are splits",) if unread else ()
    return NewSuite(chosen, _text(chosen, datasets, layout, os.path.relpath(root.resolve(), base), file), notes)


def _text(name: str, datasets: Sequence[Dataset], layout: str, path: str, file: Path | None) -> str:
    sizes = {data.name.rpartition("/")[2]: len(data.samples) for data in datasets}
    counts = ", ".join(f"{sizes[split]:,} to {use}" for split, use in _USES.items() if split in sizes)
    n_test = sizes["test"]
    test = f'dataset = "{name}/test", samples = {n_test}'
    config = shlex.quote(file.name) if file else "FILE"
    corruptions, n_corruptions, frost = '"corrupt(all, severity=3)"', 15, ""
    if importlib.util.find_spec("imagecorruptions") is None:
        others = [each for each in CORRUPTIONS if each != "frost"]
        corruptions, n_corruptions = f'"corrupt({", ".join(others)}, severity=3)"', len(others)
        frost = (
            "\n# Without frost, which needs photographs: pip install 'qubastore[frost]', then corrupt(all, severity=3)."
        )
    held_out = (
        "\n# The folder has no splits: about 30 % of the images are held out for testing, by their names."
        if layout == "holdout"
        else ""
    )
    return f"""\
# {name}: what can be measured from these images alone. Written by qubastore new-suite; change what you like.
#
#   qubastore ingest --config {config} --model timm:resnet50.a1_in1k --model timm:vit_small_patch14_dinov2.lvd142m
#   qubastore rank --suite {name}
#   qubastore report --suite {name}

[datasets]
# {len(datasets[0].classes)} classes; {counts}.{held_out}
{_key(name)} = {{ path = {_quoted(path)}, layout = "{layout}" }}

# No model has these classes as its own, so a classifier is fitted on the features of each: linear, or knn (nearest
# neighbours, without the attacks below). The probes are what is ranked. For networks of your own that have these
# classes, leave [probe] out, give the test images as class folders, and use that dataset below.
[probe]
task = {_quoted(name)}
method = "linear"

[suite]
name = {_quoted(name)}

[suite.roles]
# Accuracy, calibration error and class balance. The size of a model is known without images.
clean = {{ {test} }}

# Corruption robustness: {n_corruptions} corruptions of ImageNet-C on these images, at the third of five severities.
# Without severity=3 it is all five, as in ImageNet-C, and takes five times as long.{frost}
corrupted = [{{ {test}, conditions = [{corruptions}] }}]

# Adversarial robustness; it needs gradients, so it runs backbone and classifier: PGD takes as long as 20 clean runs.
adversarial = [{{ {test}, conditions = ["fgsm", "pgd"] }}]

# Images of the same classes from elsewhere (sketches, another camera) would show robustness to shifts:
# shifted = [{{ dataset = "elsewhere/test", samples = 100 }}]

# Speed on your machine: qubastore bench --model probe:NAME, then rank --cost latency_ms@DEVICE.
"""


_USES = {"train": "fit on", "val": "choose hyperparameters on", "test": "test on"}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
