"""What can load a model: one entry per loader, and those that other packages add.

A package adds a loader through an entry point of the group `qubastore.loaders`, whose name is that of the loader and
whose object is a module with `load(spec, source)` and `revision(spec)`, as those in `qubastore.evaluators.loaders`
have; `OPTIONS` in it names the options that it takes besides `name`, `step` and `output_type`. docs/loaders.md has an
example.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qubastore.errors import UsageError
from qubastore.plugins import LOADERS as GROUP
from qubastore.plugins import plugins

PROBE = "probe"


@dataclass(frozen=True)
class Loader:
    """What can load a model.

    Attributes:
        name: As in `timm` of `timm:resnet50.a1_in1k`.
        form: What follows the colon.
        options: The options that its specs take.
        module: The module that has `load` and `revision`.
        libraries: The packages that determine, besides torch, what a model computes.
    """

    name: str
    form: str
    options: tuple[str, ...]
    module: str
    libraries: tuple[str, ...] = ()


_ANY = ("name", "step", "output_type")
_TENSORS = ("checkpoint", "weights", "num_classes", *_ANY, "preprocess")
_FILES = (*_ANY, "preprocess")
_TEXTS = ("templates", "temperature")


def _own(name: str, form: str, options: tuple[str, ...], *libraries: str) -> Loader:
    return Loader(name, form, options, f"qubastore.evaluators.loaders.{name}", libraries)


_LOADERS = (
    _own("timm", "NAME[.TAG]", _TENSORS, "timm"),
    _own("torchvision", "NAME/WEIGHTS", _TENSORS, "torchvision"),
    _own("open_clip", "ARCH/PRETRAINED", (*_TENSORS, *_TEXTS), "open_clip_torch"),
    _own(
        "hf",
        "ORG/NAME[@REVISION], or a folder",
        (*_FILES, "pooling", "trust_remote_code", *_TEXTS),
        "transformers",
    ),
    _own("bcos", "NAME", ("checkpoint", *_FILES), "bcos"),
    _own("hub", "OWNER/REPO:ENTRY[/REF], or FOLDER:ENTRY", _FILES),
    _own("export", "FILE.pt2", _FILES),
    _own("onnx", "FILE.onnx", _FILES, "onnxruntime"),
    _own("python", "FILE.py:FACTORY", _ANY),
    _own(PROBE, "NAME, as `qubastore probe --save-as NAME` kept it", ()),
)
LOADERS = {loader.name: loader for loader in _LOADERS}
"""The loaders of this package: name -> loader."""

OPTIONS = tuple(dict.fromkeys(option for loader in _LOADERS for option in loader.options))
"""The options of all of them."""


def find_loader(name: str) -> Loader | None:
    """The loader of a name, of this package or of another; None if there is none.

    Raises:
        UsageError: if two packages have a loader of that name, or another has one of ours.
    """
    if name in LOADERS:
        return LOADERS[name]
    added = plugins(GROUP, LOADERS).get(name)
    if added is None:
        return None
    options = (*_ANY, *getattr(added.load(), "OPTIONS", ()))
    return Loader(name, "NAME", options, added.module, (added.package,))


def known_loader(name: str) -> Loader:
    """The loader of a name that is known to be one."""
    found = find_loader(name)
    if found is None:
        raise UsageError(
            f"there is no loader {name!r} here",
            expected=f"one of {', '.join(loader_names())}",
            hint=f"pip install the package that has the loader {name}",
        )
    return found


def whose_code(name: str, options: Mapping[str, str]) -> str | None:
    """Whose code runs when a model is loaded, if it is neither ours nor a dependency's."""
    loader = known_loader(name)
    if name not in LOADERS:
        return f"the code of the package {loader.libraries[0]}"
    if "trust_remote_code" in options:
        return "the code in its repository"
    return {"python": "the code in its file", "hub": "the code in its repository"}.get(name)


def loader_names() -> tuple[str, ...]:
    """The names of all loaders."""
    return (*LOADERS, *plugins(GROUP, LOADERS))


def loader_module(name: str) -> Any:
    """The module of a loader, with `load` and `revision`.

    Raises:
        UsageError: if there is no such loader here.
    """
    known_loader(name)
    return importlib.import_module(LOADERS[name].module) if name in LOADERS else plugins(GROUP, LOADERS)[name].load()
