"""How a user names a model: `loader:name[,option=value...]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from qubastore.errors import UsageError, check_name, check_text, did_you_mean
from qubastore.models.preprocessing import Preprocessing

PROBE = "probe"

LOADERS = ("timm", "torchvision", "open_clip", "python", PROBE)
"""What can load a model; `probe:NAME` is one that `qubastore probe --save-as NAME` kept."""


OPTIONS = ("checkpoint", "weights", "num_classes", "name", "output_type", "preprocess", "templates", "temperature")


FEATURES = "features"

OUTPUT_TYPES = ("logits", "probabilities", FEATURES)
"""What a network gives for an image; `features`: a vector, of a backbone without a head."""


WEIGHTS = ("ema", "raw")
"""The two sets of weights that a checkpoint may contain: their exponential moving average, and the raw weights."""


@dataclass(frozen=True)
class ModelSpec:
    """How a user names a model: `loader:name[,option=value...]`.

    Attributes:
        loader: One of `LOADERS`.
        target: The loader's name of the model: `resnet50.a1_in1k`, `alexnet/IMAGENET1K_V1`, `my_models.py:my_net`.
        options: `checkpoint` (a local file, or a URL whose file name ends in its hash), `weights` (`ema` or `raw`, for
            a checkpoint with both; EMA by default), `num_classes` (0, for `timm`: without a head), `name` (a name of
            your own), `output_type` (`probabilities` for a network that ends in a softmax, `features` for one without a
            head); for all loaders but `python`, `preprocess`
            (`224/0.95/bicubic`: see `Preprocessing.pinned`); for `open_clip`, `templates` (a file of prompts) and
            `temperature` (divides the logits).
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
        loader, colon, target = head.partition(":")
        if loader not in LOADERS or not colon or not target:
            raise UsageError(
                f"{text!r} does not name a model",
                expected=f"LOADER:NAME with one of the loaders {', '.join(LOADERS)}, as in timm:resnet50.a1_in1k",
                hint=did_you_mean(loader, LOADERS) or f"timm:{head}" if not colon else did_you_mean(loader, LOADERS),
            )
        options = dict(pair.split("=", 1) for pair in pairs)
        if loader == PROBE and options:
            raise UsageError(f"{text!r}: a probe has no options", expected=f"{PROBE}:NAME, as it was saved")
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"{text!r}: unknown option {option!r}",
                    expected=f"one of {', '.join(OPTIONS)}",
                    hint=did_you_mean(option, OPTIONS),
                )
        fewest = 0 if loader == "timm" else 1
        classes = options.get("num_classes", "1")
        if not (classes.isdecimal() and int(classes) >= fewest):
            raise UsageError(
                f"{text!r}: num_classes is {classes!r}",
                expected=f"a whole number from {fewest} up{'; 0 means no head' if not fewest else ''}",
            )
        if "output_type" in options:
            check_name("output_type", options["output_type"], OUTPUT_TYPES)
        if "weights" in options:
            check_name("weights", options["weights"], WEIGHTS)
            if "checkpoint" not in options:
                raise UsageError(f"{text!r}: weights is only for a checkpoint that contains raw and EMA weights")
        for option in ("checkpoint", "num_classes"):
            if option in options and loader == "python":
                raise UsageError(
                    f"{text!r}: {option} is only for loaders that build the network themselves",
                    hint="load the weights in the function in the file",
                )
        if "preprocess" in options:
            if loader == "python":
                raise UsageError(
                    f"{text!r}: preprocess is only for {', '.join(other for other in LOADERS if other != loader)}",
                    expected="the preprocessing that the factory returns",
                )
            Preprocessing.pinned(options["preprocess"], repr(text))
        for option in ("templates", "temperature"):
            if option in options and loader != "open_clip":
                raise UsageError(f"{text!r}: {option} is only for open_clip models, which have a text encoder")
        return cls(loader, target, options)

    def display(self, target: str | None = None) -> str:
        """The name of the model in the store: `name=` if given, else loader, target and options.

        Args:
            target: The full target, if the user may have typed only a part of it.
        """
        if "name" in self.options:
            return self.options["name"]
        files = ("checkpoint", "templates")
        parts = [f"{key}={PurePath(value).name if key in files else value}" for key, value in self.options.items()]
        return ",".join([f"{self.loader}:{target or self.target}", *parts])

    def __str__(self) -> str:
        return ",".join([f"{self.loader}:{self.target}", *(f"{key}={value}" for key, value in self.options.items())])
