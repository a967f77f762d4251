"""How a user names a model: `loader:name[,option=value...]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from qubastore.errors import UsageError, check_name, check_text, did_you_mean
from qubastore.models.loaders import LOADERS, OPTIONS, PROBE, Loader, find_loader, loader_names
from qubastore.models.preprocessing import Preprocessing

POOLINGS = ("pooler", "cls", "mean", "cls+mean")
"""How the tokens of a vision tower become one vector: the network's own pooler, the class token, the mean of the
patches, or the last two after one another."""


FEATURES = "features"

OUTPUT_TYPES = ("logits", "probabilities", FEATURES)
"""What a network gives for an image; `features`: a vector, of a backbone without a head."""


WEIGHTS = ("ema", "raw")
"""The two sets of weights that a checkpoint may contain: their exponential moving average, and the raw weights."""


@dataclass(frozen=True)
class ModelSpec:
    """How a user names a model: `loader:name[,option=value...]`.

    Attributes:
        loader: The name of a loader, as in `qubastore.models.loaders`.
        target: The loader's name of the model: `resnet50.a1_in1k`, `alexnet/IMAGENET1K_V1`, `my_models.py:my_net`.
        options: `checkpoint` (a local file, or a URL whose file name ends in its hash), `weights` (`ema` or `raw`, for
            a checkpoint with both; EMA by default), `num_classes` (0, for `timm`: without a head), `name` (a name of
            your own), `step` (a whole number: how far the training `name` was at this checkpoint), `output_type`
            (`probabilities` for a network that ends in a softmax, `features` for one without a head), `preprocess`
            (`224/0.95/bicubic`: see `Preprocessing.pinned`), `pooling` (one of `POOLINGS`), `trust_remote_code`
            (`yes`), and for zero-shot models `templates` (a file of prompts) and `temperature` (divides the logits).
            `qubastore.models.loaders` says which loader takes which.
    """

    loader: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Parse `loader:name,option=value`.

        Raises:
            UsageError: On an unknown loader or option, or an option that does not apply to the loader.
        """
        head, *pairs = re.split(r",(?=\w+=)", check_text("the model", text))
        name, colon, target = head.partition(":")
        loader = find_loader(name) if colon and target else None
        if loader is None:
            known = loader_names()
            raise UsageError(
                f"{text!r} does not name a model",
                expected=f"LOADER:NAME with one of the loaders {', '.join(known)}, as in timm:resnet50.a1_in1k",
                hint=did_you_mean(name, known) or f"timm:{head}" if not colon else did_you_mean(name, known),
            )
        options = dict(pair.split("=", 1) for pair in pairs)
        _check_options(loader, options, text)
        return cls(loader.name, target, options)

    def display(self, target: str | None = None) -> str:
        """The name of the model in the store: `name=` if given, else loader, target and options.

        Args:
            target: The full target, if the user may have typed only a part of it.
        """
        if "name" in self.options:
            return ",step=".join(map(str, self.checkpoint or (self.options["name"],)))
        files = ("checkpoint", "templates")
        parts = [f"{key}={PurePath(value).name if key in files else value}" for key, value in self.options.items()]
        return ",".join([f"{self.loader}:{target or self.target}", *parts])

    @property
    def checkpoint(self) -> tuple[str, int] | None:
        """The training of which it is a checkpoint, and the step; None if the user names none."""
        return (self.options["name"], int(self.options["step"])) if "step" in self.options else None

    def __str__(self) -> str:
        return ",".join([f"{self.loader}:{self.target}", *(f"{key}={value}" for key, value in self.options.items())])


def _check_options(loader: Loader, options: Mapping[str, str], text: str) -> None:
    """Refuse options that the loader does not take, and values that are none."""
    if loader.name == PROBE and options:
        raise UsageError(f"{text!r}: a probe has no options", expected=f"{PROBE}:NAME, as it was saved")
    for option in options:
        if option in loader.options:
            continue
        if option not in OPTIONS:
            raise UsageError(
                f"{text!r}: unknown option {option!r}",
                expected=f"one of {', '.join(loader.options)}",
                hint=did_you_mean(option, loader.options),
            )
        takers = ", ".join(each.name for each in LOADERS.values() if option in each.options)
        raise UsageError(
            f"{text!r}: {option} is only for {takers}",
            expected=f"for {loader.name}, {', '.join(loader.options)}",
            hint="do it in the function in the file" if loader.name == "python" else None,
        )
    fewest = 0 if loader.name == "timm" else 1
    classes = options.get("num_classes", "1")
    if not (classes.isdecimal() and int(classes) >= fewest):
        raise UsageError(
            f"{text!r}: num_classes is {classes!r}",
            expected=f"a whole number from {fewest} up{'; 0 means no head' if not fewest else ''}",
        )
    if "step" in options and not ("name" in options and re.fullmatch(r"\d{1,18}", options["step"], re.ASCII)):
        raise UsageError(
            f"{text!r}: step is {options['step']!r}" + ("" if "name" in options else ", and there is no name"),
            expected="name=TRAINING,step=N: the name of the training, and how far it was, a whole number from 0 up",
        )
    for option, values in _VALUES.items():
        if option in options:
            check_name(option, options[option], values)
    if "weights" in options and "checkpoint" not in options:
        raise UsageError(f"{text!r}: weights is only for a checkpoint that contains raw and EMA weights")
    if "preprocess" in options:
        Preprocessing.pinned(options["preprocess"], repr(text))


_VALUES = {"output_type": OUTPUT_TYPES, "weights": WEIGHTS, "pooling": POOLINGS, "trust_remote_code": ("yes",)}
"""Options with a fixed set of values."""
