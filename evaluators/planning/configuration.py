"""The TOML file of `qubastore ingest --config`: models, datasets, a suite, options. Paths are relative to the file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qubastore.conditions import DECODERS, PRECISIONS
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.locating import LAYOUTS, own_datasets
from qubastore.datasets.locating import OPTIONS as DATASET_OPTIONS
from qubastore.derived.probe_methods import METHODS
from qubastore.errors import UsageError, check_name, did_you_mean
from qubastore.metrics.suite_files import suite_from_table
from qubastore.metrics.suites import Suite
from qubastore.models.loaders import OPTIONS
from qubastore.models.spec import ModelSpec
from qubastore.models.zoo import PREFIX
from qubastore.s3 import is_s3

_OPTION_TYPES: dict[str, tuple[Any, str]] = {
    "conditions": (list, 'a list such as ["clean", "fgsm"]'),
    "suite": (str, "the name of a suite"),
    "data_root": (str, "the folder that holds the datasets"),
    "framing": (str, "model or whole"),
    "precision": (str, ", ".join(PRECISIONS)),
    "decoder": (str, ", ".join(DECODERS)),
    "keep": (list, 'a list such as ["outputs", "logits"]'),
    "batch_size": (int | str, "a whole number, or auto"),
    "num_gpus": (int, "a whole number"),
    "num_cpus": (int, "a whole number"),
    "evaluators_per_gpu": (int, "a whole number"),
    "address": (str, "the address of a Ray cluster"),
    "limit": (int, "a whole number"),
    "strict": (bool, "true or false"),
    "intervals": (bool, "true or false"),
}


_TABLES = ("models", "datasets", "probe", "suite", "ingest")


@dataclass(frozen=True)
class ProbeTask:
    """The task on which a probe is fitted for every model, which is then what the suite measures.

    Attributes:
        task: The common part of the names of its splits.
        method: One of `probe_methods.METHODS`.
    """

    task: str
    method: str = "linear"


@dataclass
class Configuration:
    """The contents of a configuration file.

    Attributes:
        models: `loader:name` texts or specs.
        datasets: Datasets, whose folders have been listed.
        suite: The suite that the file defines, or None.
        probe: The task to probe, or None.
        options: Keyword arguments of `ingest`.
    """

    models: list[Any] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    suite: Suite | None = None
    probe: ProbeTask | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read_configuration(path: str | None) -> Configuration:
    """Read a configuration file; None gives an empty configuration.

    Raises:
        UsageError: naming the file and the invalid key.
        DatasetError: if a folder is not a dataset.
    """
    if path is None:
        return Configuration()
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", found=error.strerror) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a valid TOML file", found=str(error)) from None
    _known(table, _TABLES, path)
    base = Path(path).parent
    datasets = _typed(table.get("datasets", {}), dict, f"{path}: datasets", '[datasets] with NAME = "PATH"')
    return Configuration(
        models=[
            _spec(entry, base, path) for entry in _typed(table.get("models", []), list, f"{path}: models", "a list")
        ],
        datasets=[found for name, entry in datasets.items() for found in _datasets(name, entry, base, path)],
        suite=suite_from_table(_typed(table["suite"], dict, f"{path}: suite", "a table"), path)
        if "suite" in table
        else None,
        probe=_probe(_typed(table["probe"], dict, f"{path}: probe", "a table"), datasets, path)
        if "probe" in table
        else None,
        options=_options(_typed(table.get("ingest", {}), dict, f"{path}: ingest", "a table"), base, path),
    )


def _probe(table: dict[str, Any], datasets: dict[str, Any], path: str) -> ProbeTask:
    _known(table, ("task", "method"), f"{path}: [probe]")
    for key, value in table.items():
        _typed(value, str, f"{path}: probe.{key}", "a name")
    task = table.get("task")
    if task not in datasets:
        raise UsageError(
            f"{path}: [probe] names the task {task!r}" if task else f"{path}: [probe] names no task",
            expected=f"one of the datasets with splits: {', '.join(datasets) or 'none is defined'}",
            hint='task = "NAME"',
        )
    return ProbeTask(task, check_name("method", table.get("method", "linear"), METHODS))


def _datasets(name: str, entry: Any, base: Path, path: str) -> list[Dataset]:
    """The datasets of `"PATH"` or `{ path = "PATH", layout = "shape-texture", framing = "whole" }`."""
    expected = f'"PATH" or {{ path = "PATH", layout = "{LAYOUTS[0]}" }}'
    table = {"path": entry} if isinstance(entry, str) else _typed(entry, dict, f"{path}: datasets.{name}", expected)
    _known(table, ("path", *DATASET_OPTIONS), f"{path}: datasets.{name}")
    for key in ("path", *table):
        _typed(table.get(key), str, f"{path}: datasets.{name}.{key}", expected)
    options: dict[str, Any] = {option: table[option] for option in DATASET_OPTIONS if option in table}
    return own_datasets(name, table["path"] if is_s3(table["path"]) else base / table["path"], **options)


def _spec(entry: Any, base: Path, path: str) -> ModelSpec | str:
    """The spec of a model, or a `zoo:` name unchanged: the driver expands it and reports what it leaves out."""
    return entry if isinstance(entry, str) and entry.startswith(PREFIX) else _model(entry, base, path)


def _model(entry: Any, base: Path, path: str) -> ModelSpec:
    """The spec of `"timm:NAME"` or `{ id = "timm:NAME", checkpoint = "FILE" }`."""
    table = (
        {"id": entry}
        if isinstance(entry, str)
        else _typed(entry, dict, f"{path}: a model", '"LOADER:NAME" or { id = ... }')
    )
    _known(table, ("id", *OPTIONS), f"{path}: a model")
    if not isinstance(table.get("id"), str):
        raise UsageError(f"{path}: a model has no id", expected='{ id = "LOADER:NAME" }', found=repr(entry))
    spec = ModelSpec.parse(table["id"])
    options = {**spec.options, **{key: str(value) for key, value in table.items() if key != "id"}}
    for option in ("checkpoint", "templates"):
        if option in options and not options[option].startswith("https://"):
            options[option] = str(base / options[option])
    target = spec.target
    if spec.loader == "python":
        file, _, factory = target.rpartition(":")
        target = f"{base / file}:{factory}"
    elif spec.loader in ("export", "onnx") or (spec.loader in ("hf", "hub") and target.startswith(".")):
        target = str(base / target)
    return ModelSpec.parse(str(ModelSpec(spec.loader, target, options)))


def _options(table: dict[str, Any], base: Path, path: str) -> dict[str, Any]:
    options = {key.replace("-", "_"): value for key, value in table.items()}
    _known(options, tuple(_OPTION_TYPES), f"{path}: [ingest]")
    for key, value in options.items():
        kind, expected = _OPTION_TYPES[key]
        _typed(value, kind, f"{path}: ingest.{key}", expected)
    if "data_root" in options:
        options["data_root"] = str(base / options["data_root"])
    return options


def _known(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(
                f"{where}: unknown key {key!r}", expected=f"one of {', '.join(known)}", hint=did_you_mean(key, known)
            )


def _typed(value: Any, kind: Any, where: str, expected: str) -> Any:
    # bool is a subclass of int, but true is not a valid batch size.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where} is {value!r}", expected=expected)
    return value
