"""What a model is: how users name it, how an image becomes its input, and what tells it from every other model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from qubastore.conditions import FILTERS, Condition
from qubastore.errors import ModelError, UsageError, check_name, check_text, did_you_mean
from qubastore.hashing import canonical_json, identifier

if TYPE_CHECKING:
    from qubastore.fingerprints import Fingerprint

INTERPOLATIONS = (*FILTERS, "random")
LOADERS = ("timm", "torchvision", "open_clip", "python")
OPTIONS = ("checkpoint", "weights", "num_classes", "name", "output_type", "preprocess", "templates", "temperature")
OUTPUT_TYPES = ("logits", "probabilities")
WEIGHTS = ("ema", "raw")
"""What a checkpoint may hold both of: weights as training left them, and their exponential moving average."""


@dataclass(frozen=True)
class ModelSpec:
    """How a user names a model: `loader:name[,option=value...]`.

    Attributes:
        loader: One of `LOADERS`.
        target: What the loader takes: `resnet50.a1_in1k`, `alexnet/IMAGENET1K_V1`, `my_models.py:my_net`.
        options: `checkpoint` (a local file, or an address whose file name ends in its hash), `weights` (`ema` or `raw`,
            of a checkpoint that holds both; EMA without it), `num_classes`, `name` (a name of one's own), `output_type`
            (`probabilities` for a network that ends in a softmax); for all but `python`, `preprocess`
            (`224/0.95/bicubic`: see `Preprocessing.pinned`); for `open_clip`, `templates` (a file of prompts) and
            `temperature` (divides the logits).
    """

    loader: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Read `loader:name,option=value`.

        Raises:
            UsageError: on an unknown loader or option.
        """
        head, *pairs = re.split(r",(?=\w+=)", check_text("the model", text))
        loader, colon, target = head.partition(":")
        if loader not in LOADERS or not colon or not target:
            raise UsageError(
                f"{text!r} names no model",
                expected=f"LOADER:NAME with a loader of {', '.join(LOADERS)}, as in timm:resnet50.a1_in1k",
                hint=did_you_mean(loader, LOADERS) or f"timm:{head}" if not colon else did_you_mean(loader, LOADERS),
            )
        options = dict(pair.split("=", 1) for pair in pairs)
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"{text!r}: unknown option {option!r}",
                    expected=f"one of {', '.join(OPTIONS)}",
                    hint=did_you_mean(option, OPTIONS),
                )
        if "num_classes" in options and not (options["num_classes"].isdecimal() and int(options["num_classes"]) > 0):
            raise UsageError(
                f"{text!r}: num_classes is {options['num_classes']!r}", expected="a whole number from 1 up"
            )
        if "output_type" in options:
            check_name("output_type", options["output_type"], OUTPUT_TYPES)
        if "weights" in options:
            check_name("weights", options["weights"], WEIGHTS)
            if "checkpoint" not in options:
                raise UsageError(f"{text!r}: weights is for a checkpoint that holds raw and EMA weights")
        for option in ("checkpoint", "num_classes"):
            if option in options and loader == "python":
                raise UsageError(
                    f"{text!r}: {option} is for loaders that build the network themselves",
                    hint="let the function in the file load its weights",
                )
        if "preprocess" in options:
            if loader == "python":
                raise UsageError(
                    f"{text!r}: preprocess is for {', '.join(LOADERS[:-1])}",
                    expected="the preprocessing that the factory returns",
                )
            Preprocessing.pinned(options["preprocess"], repr(text))
        for option in ("templates", "temperature"):
            if option in options and loader != "open_clip":
                raise UsageError(f"{text!r}: {option} is for open_clip models, which have a text side")
        return cls(loader, target, options)

    def display(self, target: str | None = None) -> str:
        """How the model is called in the store: `name=` if given, else loader, target and what changes the model.

        Args:
            target: The target in full, where the user may have typed a part of it.
        """
        if "name" in self.options:
            return self.options["name"]
        files = ("checkpoint", "templates")
        parts = [f"{key}={PurePath(value).name if key in files else value}" for key, value in self.options.items()]
        return ",".join([f"{self.loader}:{target or self.target}", *parts])

    def __str__(self) -> str:
        return ",".join([f"{self.loader}:{self.target}", *(f"{key}={value}" for key, value in self.options.items())])


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB image becomes a model's input: resize, crop, scale to [0, 1], normalise.

    Attributes:
        crop: Height and width of the input, pixels.
        resize: Height and width that the image is resized to; with `mode` "shorter" and a square, the shorter edge.
        mode: `shorter` (aspect kept, the shorter edge fills), `squash` (aspect given up), `border` (aspect kept, the
            longer edge fills and the rest is padded with the mean): timm's crop modes center, squash and border.
        interpolation: Pillow's filter: `bilinear`, `bicubic`, `lanczos`, `nearest`, `box` or `hamming`.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divides each channel after that.
    """

    crop: tuple[int, int]
    resize: tuple[int, int]
    mode: str = "shorter"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @classmethod
    def from_timm(cls, config: Mapping[str, Any], where: str) -> Preprocessing:
        """Read a timm data config: `input_size`, `interpolation`, `mean`, `std`, `crop_pct`, `crop_mode`.

        Raises:
            ModelError: where the config lacks the input size or names an unknown crop mode.
        """
        size = config.get("input_size")
        if not isinstance(size, (tuple, list)) or len(size) != 3 or size[0] != 3:
            raise ModelError(
                f"{where}: the preprocessing has no usable input_size",
                expected="(3, height, width)",
                found=repr(size),
                hint='return a timm data config, such as {"input_size": (3, 224, 224)}',
            )
        modes = {"center": "shorter", "squash": "squash", "border": "border"}
        crop_mode = config.get("crop_mode") or "center"
        if crop_mode not in modes:
            raise ModelError(f"{where}: unknown crop_mode {crop_mode!r}", expected=f"one of {', '.join(modes)}")
        interpolation = config.get("interpolation") or "bilinear"
        if interpolation not in INTERPOLATIONS:
            raise ModelError(
                f"{where}: unknown interpolation {interpolation!r}", expected=f"one of {', '.join(INTERPOLATIONS)}"
            )
        crop = (_number(size[1], where, "input_size", int), _number(size[2], where, "input_size", int))
        share = _number(config.get("crop_pct") or 0.875, where, "crop_pct", float)
        return cls(
            crop=crop,
            resize=(math.floor(crop[0] / share), math.floor(crop[1] / share)),
            mode=modes[crop_mode],
            # timm's eval transform takes bilinear for a config that says random.
            interpolation="bilinear" if interpolation == "random" else interpolation,
            mean=_three(config.get("mean", cls.mean), where, "mean"),
            std=_three(config.get("std", cls.std), where, "std"),
        )

    @classmethod
    def pinned(cls, text: str, where: str, own: Preprocessing | None = None) -> Preprocessing:
        """Read `SIZE/CROP[/INTERPOLATION]`, bicubic without one: the shorter edge resized to floor(SIZE / CROP), then a
        centre crop of SIZE, whatever the default of an architecture is today.

        Args:
            text: As in `224/0.95` or `224/0.875/bilinear`.
            where: For messages.
            own: The model's own preprocessing, whose mean and standard deviation stay.

        Raises:
            UsageError: where it is not of that form, with a crop share above 0 and up to 1.
        """
        match = re.fullmatch(r"(\d+)/(\d?\.?\d+)(?:/([a-z]+))?", text)
        size, share, interpolation = (int(match[1]), float(match[2]), match[3]) if match else (0, 0.0, None)
        if size < 1 or not 0 < share <= 1:
            raise UsageError(
                f"{where}: preprocess is {text!r}",
                expected="SIZE/CROP or SIZE/CROP/INTERPOLATION",
                hint="preprocess=224/0.95, preprocess=224/0.875/bilinear",
            )
        edge = math.floor(size / share)
        return cls(
            crop=(size, size),
            resize=(edge, edge),
            interpolation=check_name("interpolation", interpolation or "bicubic", FILTERS),
            mean=own.mean if own else cls.mean,
            std=own.std if own else cls.std,
        )

    def framed(self, framing: str) -> Preprocessing:
        """The same under a framing: `whole` resizes the whole image to the input size and crops nothing."""
        return replace(self, resize=self.crop, mode="squash") if framing == "whole" else self

    def under(self, condition: Condition) -> Preprocessing:
        """The same under a condition: `scale` resizes by more before the crop, `resolution` crops to another size, and
        `scale` and `shift` may say the filter.

        Edges are rounded down. A shift is no part of it: it is applied to the image before.
        """
        chosen = replace(self, interpolation=condition.interpolation or self.interpolation)
        if condition.kind == "scale":
            factor = condition.number("factor")
            return replace(chosen, resize=_scaled(self.resize, (factor, factor)))
        if size := condition.resolution:
            ratios = (size / self.crop[0], size / self.crop[1])
            return replace(chosen, crop=(size, size), resize=_scaled(self.resize, ratios))
        return chosen

    @property
    def decode_key(self) -> str:
        """What decides the decoded pixels; models that share it share decoding, whatever their normalisation."""
        padding = self.mean if self.mode == "border" else None
        return canonical_json(["pixels", self.crop, self.resize, self.mode, self.interpolation, padding])

    def describe(self) -> dict[str, Any]:
        """The preprocessing as JSON-representable data: part of the model's identity."""
        return {"kind": "pixels", **asdict(self)}


@dataclass(frozen=True)
class Model:
    """The row of a model.

    Attributes:
        name: `loader:name`, as shown.
        loader: Its loader.
        architecture: What, besides the weights, decides the function: JSON-representable.
        weights_hash: Hash of the state dict; empty for imported predictions.
        preprocessing: `Preprocessing.describe()`, or the id of a callable.
        input_size: Height and width of the input; None for a callable that was never run.
        num_classes: Length of the output vector; None where unknown.
        parameters: Number of parameters; None where unknown.
        feature_width: Length of the vector that enters the classifier; None where there is none.
        output_type: `logits` or `probabilities`.
        macs: Multiply-accumulates of a forward pass of one image; None where unknown. Not part of its identity.
        activations: Numbers that its convolutions, matrix products and attention put out for one image.
        fingerprint: What it answers to fixed images; None for what no network here computed, and for models recorded
            before there were fingerprints.
        recorded_id: Its id in the store, where it is there.
    """

    name: str
    loader: str
    architecture: Any
    weights_hash: str
    preprocessing: Any
    input_size: tuple[int, int] | None
    num_classes: int | None
    parameters: int | None
    feature_width: int | None
    output_type: str = "logits"
    macs: int | None = None
    activations: int | None = None
    fingerprint: Fingerprint | None = field(default=None, compare=False)
    recorded_id: str | None = None

    @property
    def model_id(self) -> str:
        """Hash of loader, architecture, weights, preprocessing and fingerprint; the head is part of the architecture.

        A model that is in the store keeps the id that it has there: see `qubastore.recognition`.
        """
        if self.recorded_id is not None:
            return self.recorded_id
        function = () if self.fingerprint is None else (self.fingerprint.digest,)
        return identifier("model", *self.described, *function)

    @property
    def described(self) -> tuple[Any, ...]:
        """What says, beside the fingerprint, which model it is: what can be read without running it."""
        return self.loader, self.architecture, self.weights_hash, self.preprocessing, self.output_type

    def row(self) -> tuple[Any, ...]:
        """The columns of the table `models` between model_id and created_at, costs left out."""
        height, width = self.input_size or (None, None)
        return (
            self.name,
            self.loader,
            canonical_json(self.architecture),
            self.weights_hash,
            canonical_json(self.preprocessing),
            height,
            width,
            self.num_classes,
            self.parameters,
            self.feature_width,
            self.output_type,
        )


def _scaled(size: tuple[int, int], ratios: tuple[float, float]) -> tuple[int, int]:
    # A ratio such as 448/224 is not always whole in binary; what is meant as a whole edge must not lose a pixel.
    return math.floor(size[0] * ratios[0] + 1e-9), math.floor(size[1] * ratios[1] + 1e-9)


def _number(value: Any, where: str, name: str, kind: type[int] | type[float]) -> Any:
    """A positive number of a preprocessing."""
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not 0 < value < math.inf:
        raise ModelError(f"{where}: {name} of the preprocessing holds {value!r}", expected="a number above 0")
    return kind(value)


def _three(values: Any, where: str, name: str) -> tuple[float, ...]:
    """One number per colour channel."""
    numbers = isinstance(values, (tuple, list)) and all(isinstance(v, (int, float)) for v in values)
    if not numbers or len(values) != 3 or not all(math.isfinite(v) for v in values) or (name == "std" and 0 in values):
        raise ModelError(
            f"{where}: {name} of the preprocessing is {values!r}", expected="three numbers, one per colour channel"
        )
    return tuple(float(v) for v in values)
