"""How an RGB image becomes a model's input."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from qubastore.conditions import FILTERS, Condition
from qubastore.errors import ModelError, UsageError, check_name
from qubastore.hashing import canonical_json

INTERPOLATIONS = (*FILTERS, "random")


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB image becomes a model's input: resize, crop, scale to [0, 1], normalise.

    Attributes:
        crop: Height and width of the input, pixels.
        resize: Height and width to which the image is resized; with mode `shorter` and a square, the shorter edge.
        mode: `shorter` (keep the aspect ratio, fit the shorter edge), `squash` (ignore the aspect ratio) or `border`
            (keep the aspect ratio, fit the longer edge, pad with the mean): timm's crop modes center, squash and
            border.
        interpolation: Pillow's filter: `bilinear`, `bicubic`, `lanczos`, `nearest`, `box` or `hamming`.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divisor of each channel after subtracting the mean.
        center: How the crop lies where the margins cannot be equal: `even` rounds half of the difference to an even
            number (timm, torchvision), `down` rounds it down (transformers).
    """

    crop: tuple[int, int]
    resize: tuple[int, int]
    mode: str = "shorter"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    center: str = "even"

    @classmethod
    def from_timm(cls, config: Mapping[str, Any], where: str) -> Preprocessing:
        """Convert a timm data config: `input_size`, `interpolation`, `mean`, `std`, `crop_pct`, `crop_mode`.

        Raises:
            ModelError: If the config has no input size, an unknown crop mode or interpolation, or an invalid number.
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
            # timm's eval transform uses bilinear for a config with random interpolation.
            interpolation="bilinear" if interpolation == "random" else interpolation,
            mean=_three(config.get("mean", cls.mean), where, "mean"),
            std=_three(config.get("std", cls.std), where, "std"),
        )

    @classmethod
    def pinned(cls, text: str, where: str, own: Preprocessing | None = None) -> Preprocessing:
        """Parse `SIZE/CROP[/INTERPOLATION]`: resize the shorter edge to floor(SIZE / CROP), then crop the centre to
        SIZE. The interpolation is bicubic by default. It does not depend on the architecture's current default.

        Args:
            text: As in `224/0.95` or `224/0.875/bilinear`.
            where: Prefix of error messages.
            own: The model's own preprocessing, whose mean and standard deviation are kept.

        Raises:
            UsageError: If `text` is not of that form, or CROP is not above 0 and at most 1.
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
        """This preprocessing under a framing: `whole` resizes the whole image to the input size, without a crop."""
        return replace(self, resize=self.crop, mode="squash") if framing == "whole" else self

    def under(self, condition: Condition) -> Preprocessing:
        """This preprocessing under a condition: `scale` multiplies the size before the crop, `resolution` crops to
        another size, `corrupt` takes the whole corrupted image, and `scale` and `shift` may set the filter.

        Edges are rounded down. The shift itself is not included: it is applied to the image beforehand.
        """
        chosen = replace(self, interpolation=condition.interpolation or self.interpolation)
        if condition.kind == "scale":
            factor = condition.number("factor")
            return replace(chosen, resize=_scaled(self.resize, (factor, factor)))
        if condition.corruption:
            # The corrupted image is cropped already.
            return chosen.framed("whole")
        if size := condition.resolution:
            ratios = (size / self.crop[0], size / self.crop[1])
            return replace(chosen, crop=(size, size), resize=_scaled(self.resize, ratios))
        return chosen

    @property
    def decode_key(self) -> str:
        """What determines the decoded pixels; models with the same key share decoding, whatever their normalisation."""
        padding = self.mean if self.mode == "border" else None
        center = () if self.center == "even" else (self.center,)
        return canonical_json(["pixels", self.crop, self.resize, self.mode, self.interpolation, padding, *center])

    def describe(self) -> dict[str, Any]:
        """The preprocessing as JSON-representable data: part of the model's identity."""
        described = {"kind": "pixels", **asdict(self)}
        if self.center == "even":
            # Models that were recorded before there was another way keep their identity.
            del described["center"]
        return described

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> Preprocessing | None:
        """Read what `describe` returned; None for models that preprocess images themselves, and for imported ones."""
        found = dict(description)
        if found.pop("kind", None) != "pixels":
            return None
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**fields)


def _scaled(size: tuple[int, int], ratios: tuple[float, float]) -> tuple[int, int]:
    # A ratio is not always exact in binary; an edge that is a whole number of pixels must not lose one to rounding.
    return math.floor(size[0] * ratios[0] + 1e-9), math.floor(size[1] * ratios[1] + 1e-9)


def _number(value: Any, where: str, name: str, kind: type[int] | type[float]) -> Any:
    """Check that a value of a preprocessing is a positive number."""
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not 0 < value < math.inf:
        raise ModelError(f"{where}: {name} of the preprocessing contains {value!r}", expected="a number above 0")
    return kind(value)


def _three(values: Any, where: str, name: str) -> tuple[float, ...]:
    """Check that there is one finite number per colour channel."""
    numbers = isinstance(values, (tuple, list)) and all(isinstance(v, (int, float)) for v in values)
    if not numbers or len(values) != 3 or not all(math.isfinite(v) for v in values) or (name == "std" and 0 in values):
        raise ModelError(
            f"{where}: {name} of the preprocessing is {values!r}", expected="three numbers, one per colour channel"
        )
    return tuple(float(v) for v in values)
