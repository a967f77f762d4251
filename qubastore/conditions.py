"""Conditions (how inputs are altered), framings and decoders (how images become inputs) and precisions, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from qubastore.errors import UsageError, check_name

CLEAN = "clean"
ATTACKS = ("fgsm", "pgd")
TRANSFORMATIONS = ("scale", "shift", "resolution")
"""Conditions that move or resize the image before the model's crop, as in arXiv 2311.09215."""

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The corruptions of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261), without its four extra ones."""

SEVERITIES = ("1", "2", "3", "4", "5")

ALL = "all"

PARAMETERS: dict[str, dict[str, str]] = {
    CLEAN: {},
    "fgsm": {"eps": "8/255"},
    "pgd": {"eps": "8/255", "alpha": "2/255", "steps": "10", "start": "random"},
    "scale": {"factor": "", "interpolation": "model"},
    "shift": {"pixels": "", "direction": "longer", "order": "resize-first", "interpolation": "model"},
    "resolution": {"pixels": ""},
    "corrupt": {"corruption": "", "severity": ALL},
}
"""Kind of condition -> its parameters with their defaults; an empty one is required, and its name may be omitted.

Attacks have the defaults of the QUBA study (arXiv 2503.17110). `scale` resizes the image by that factor before the
model's centre crop; `shift` moves the crop, in pixels of the original image, along its longer side, as arXiv 2311.09215
does, or right, down or both; `resolution` uses square inputs of that many pixels; `corrupt` makes the image 224 x 224
pixels, as ImageNet-C does (the shorter edge to 256, then the centre; the whole image if the framing is `whole`),
corrupts it, and saves it as a JPEG file of quality 85, of which the model gets all.

`order` says whether a shift's crop is taken from the resized image, like the model's own crop (`resize-first`), or from
the original image, in whole pixels, and then resized to the input size (`crop-first`, as in the code of arXiv
2311.09215). `interpolation` is `model` for the model's own filter, or one of `FILTERS`: that code resizes with
`bilinear` for every model.
"""

DIRECTIONS = ("longer", "right", "down", "both")
ORDERS = ("resize-first", "crop-first")

FILTERS = ("bicubic", "bilinear", "lanczos", "nearest", "box", "hamming")
"""Pillow's resampling filters."""

FRAMINGS = ("model", "whole")
"""`model`: the model's own resize and crop. `whole`: the whole image resized to the input size, without a crop."""

_BITS = {"fp32": 16, "fp16": 11, "bf16": 8}

COMPILED = "-compiled"

SIGNIFICANT_BITS = {**_BITS, **{kind + COMPILED: bits for kind, bits in _BITS.items()}}
"""Precision of the forward pass -> significant bits to which kept logits and features are rounded.

fp16 and bf16 results have no more significant bits; for fp32, rounding to 16 bits changes a logit by at most 2^-16 of
its value. `-compiled` is the same precision through `torch.compile`, whose fused kernels round differently (logits
change by about 1e-5), so these are separate runs.
"""

PRECISIONS = tuple(SIGNIFICANT_BITS)

PILLOW, TORCHVISION, NVJPEG = "pillow", "torchvision", "nvjpeg"

DECODERS = (PILLOW, TORCHVISION, NVJPEG)
"""What decodes and resizes images. Their pixels differ, so a run is of one of them (docs/decoders.md).

`pillow`: Pillow, the pixels of timm's and torchvision's evaluation transforms. `torchvision`: torchvision's decoder and
torch's resize, on the CPU. `nvjpeg`: the same on the GPU, with NVIDIA's decoder. What the other two cannot decode as
Pillow does (anything but a plain JPEG file) is decoded by Pillow, and counted.
"""

_CHOICES = {
    "start": ("random", "image"),
    "direction": DIRECTIONS,
    "order": ORDERS,
    "interpolation": ("model", *FILTERS),
    "corruption": (*CORRUPTIONS, ALL),
    "severity": (*SEVERITIES, ALL),
}
"""Parameters whose values are words."""


class Shift(NamedTuple):
    """How a crop moves: by how many pixels of the original image, in which direction, before or after the resize."""

    pixels: int
    direction: str
    order: str = "resize-first"


class Corruption(NamedTuple):
    """How an image is corrupted: one of `CORRUPTIONS`, and its severity from 1 (mild) to 5."""

    name: str
    severity: int


@dataclass(frozen=True)
class Condition:
    """How inputs are altered before the model sees them.

    Attributes:
        kind: One of `PARAMETERS`.
        parameters: Name -> value as canonical text.
    """

    kind: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse `fgsm`, `pgd(steps=20, start=image)`, `scale(1.25)`; omitted parameters take their defaults.

        `scale(1)` and `shift(0)` alter nothing and are therefore `clean`, unless they set another filter or order.

        Raises:
            UsageError: On an unknown kind or parameter, a value out of range, or several values.
        """
        found = cls.parse_all(text)
        if len(found) > 1:
            raise UsageError(f"{text!r} means {len(found)} conditions", expected="one", hint=str(found[0]))
        return found[0]

    @classmethod
    def parse_all(cls, text: str) -> list[Condition]:
        """Parse a condition, or several as in `scale(1, 1.25, 1.5)`: one condition per value.

        Raises:
            UsageError: As `parse`, except that several values are allowed.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
        if match is None:
            raise UsageError(
                f"{text!r} is not a valid condition",
                expected="KIND, KIND(VALUE) or KIND(NAME=VALUE, ...)",
                hint="fgsm(eps=8/255), scale(1.25)",
            )
        kind = check_name("condition", match[1], tuple(PARAMETERS))
        values = dict(PARAMETERS[kind])
        given = {name for name, default in values.items() if default}
        listed: list[str] = []
        for part in filter(None, (part.strip() for part in (match[2] or "").split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals and len(given) < len(values):
                listed.append(part)
                continue
            check_name(f"parameter of {kind}", name, tuple(values))
            if not equals:
                raise UsageError(f"{text!r}: {name} has no value", hint=f"{kind}({name}={values[name]})")
            values[name] = _canonical(kind, name, value, text)
            given.add(name)
        needed = [name for name in values if name not in given]
        if bool(needed) != bool(listed):
            raise UsageError(
                f"{text!r} {'has no' if needed else 'has more than one'} {(needed or list(values))[0]}",
                hint=_EXAMPLES.get(kind),
            )
        found = [
            cls(kind, {**values, needed[0]: _canonical(kind, needed[0], value, text)})._unless_clean()
            for value in listed
        ] or [cls(kind, values)._unless_clean()]
        return [each for condition in found for each in condition._each_severity()]

    def _unless_clean(self) -> Condition:
        nothing = {"scale": {"factor": "1"}, "shift": {"pixels": "0"}}.get(self.kind)
        if nothing is None:
            return self
        # The direction of a shift by 0 pixels has no effect.
        unaltered = {**PARAMETERS[self.kind], **nothing, "direction": self.parameters.get("direction")}
        alters = any(value != unaltered[name] for name, value in self.parameters.items())
        return self if alters else Condition(CLEAN, {})

    def _each_severity(self) -> list[Condition]:
        """A corruption at one severity for each that it stands for; itself if it is no corruption."""
        if self.kind != "corrupt":
            return [self]
        names, severities = self.parameters["corruption"], self.parameters["severity"]
        return [
            Condition(self.kind, {"corruption": name, "severity": severity})
            for name in (CORRUPTIONS if names == ALL else (names,))
            for severity in (SEVERITIES if severities == ALL else (severities,))
        ]

    def __str__(self) -> str:
        if self.kind in (*TRANSFORMATIONS, "corrupt"):
            first, *others = self.parameters.items()
            chosen = [f"{name}={value}" for name, value in others if value != PARAMETERS[self.kind][name]]
            return f"{self.kind}({','.join([first[1], *chosen])})"
        listed = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.kind}({listed})" if listed else self.kind

    def number(self, name: str) -> float:
        """A parameter as a float; eps and alpha are on the scale 0 to 1, not 0 to 255."""
        return float(Fraction(self.parameters[name]))

    @property
    def is_attack(self) -> bool:
        """Whether it needs the model's gradients and the correct labels."""
        return self.kind in ATTACKS

    @property
    def corruption(self) -> Corruption | None:
        """How the image is corrupted; None if it is not."""
        if self.kind != "corrupt":
            return None
        return Corruption(self.parameters["corruption"], int(self.parameters["severity"]))

    @property
    def is_transformation(self) -> bool:
        """Whether it changes the image's preprocessing, so that images are decoded separately for it."""
        return self.kind in TRANSFORMATIONS

    @property
    def resolution(self) -> int | None:
        """Height and width of the input, in pixels; None for the model's own."""
        return int(self.parameters["pixels"]) if self.kind == "resolution" else None

    @property
    def shift(self) -> Shift | None:
        """How the crop moves; None if it does not."""
        if self.kind != "shift":
            return None
        return Shift(int(self.parameters["pixels"]), self.parameters["direction"], self.parameters["order"])

    @property
    def interpolation(self) -> str | None:
        """The filter with which the image is resized; None for the model's own."""
        chosen = self.parameters.get("interpolation", "model")
        return None if chosen == "model" else chosen


_EXAMPLES = {
    "scale": "scale(1.25), scale(1.25, interpolation=bilinear)",
    "shift": "shift(30), shift(30, direction=down), shift(30, order=crop-first)",
    "resolution": "resolution(336)",
    "corrupt": "corrupt(fog), corrupt(fog, snow, severity=3), corrupt(all)",
}
_WHOLE = {"steps": (1, 1_000_000), "shift": (0, 10_000), "resolution": (1, 4_096)}
"""Parameter, or kind of condition, whose value is a whole number -> the range of that value."""


def _canonical(kind: str, name: str, value: str, text: str) -> str:
    if name in _CHOICES:
        return check_name(f"{name} of {kind}", value, _CHOICES[name])
    try:
        number = Fraction(value)
    except (ValueError, ZeroDivisionError):
        number = Fraction(-1)
    whole = _WHOLE.get(name) or _WHOLE.get(kind)
    if whole:
        if number.denominator != 1 or not whole[0] <= number <= whole[1]:
            raise UsageError(f"{text!r}: {name} is {value}", expected=f"a whole number from {whole[0]} to {whole[1]:,}")
        return str(number)
    if kind == "scale":
        if not Fraction(1, 10) <= number <= 10:
            raise UsageError(f"{text!r}: {name} is {value}", expected="a number from 0.1 to 10")
        return f"{float(number):.12g}"
    if not 0 < number <= 1:
        raise UsageError(f"{text!r}: {name} is {value}", expected="a number above 0 and up to 1, such as 8/255")
    # 8/255 and 16/510 are the same condition; the literature writes eps in 255ths.
    return f"{number * 255}/255" if (number * 255).denominator == 1 else str(number)
