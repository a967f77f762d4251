"""Outputs of a network for fixed images: its fingerprint, and a check that outputs are repeatable in any batch.

Computed on the CPU, whatever device evaluates the model later.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.errors import ModelError, QubastoreError, in_one_line
from qubastore.models.fingerprints import DOUBLE, SINGLE, VERSION, Fingerprint, same_answers
from qubastore.models.loaders import find_loader
from qubastore.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.loaders.loaded import LoadedModel

LARGEST_IN_DOUBLE = 400_000_000
"""Largest number of parameters of a network that is copied into double precision: the copy takes up to 5 GB."""
REPEATABLE = 1e-5
"""Largest difference between two outputs for the same image in float32, relative to the largest output."""


def fixed_pixels(height: int, width: int) -> NDArray[np.uint8]:
    """The fixed images, (4, height, width, 3) uint8: colour gradients, noise, bright blobs, a dark checkerboard.

    They are computed from integers and the bytes of a hash, so they are the same on every machine and release.
    """
    rows, columns = np.mgrid[:height, :width].astype(np.int64)
    gradients = np.stack([255 * rows // height, 255 * columns // width, 255 - 255 * rows // height], axis=-1)
    drawn = np.frombuffer(hashlib.shake_256(b"qubastore").digest(height * width * 3 + 75), np.uint8)
    noise = drawn[75:].reshape(height, width, 3)
    coarse = 160 + drawn[:75].reshape(5, 5, 3).astype(np.int64) * 96 // 256
    blobs = coarse[rows * 5 // height, columns * 5 // width]
    squares = (rows * 8 // height + columns * 8 // width) % 2
    board = np.stack([60 * squares, 30 - 30 * squares, 0 * squares], axis=-1)
    return np.stack([gradients, noise, blobs, board]).astype(np.uint8)


def fixed_inputs(prepare: Preprocessing | Callable[[Any], torch.Tensor]) -> torch.Tensor:
    """The fixed images as a model's input, (4, 3, height, width) float32; preprocessing functions get 256 x 256."""
    import torch

    if not isinstance(prepare, Preprocessing):
        from PIL import Image

        return torch.stack([prepare(Image.fromarray(pixels)) for pixels in fixed_pixels(256, 256)]).float()
    pixels = torch.from_numpy(fixed_pixels(*prepare.crop)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (prepare.mean, prepare.std))
    return ((pixels - mean) / std).contiguous()


def fingerprint(loaded: LoadedModel) -> Fingerprint:
    """The fingerprint of a network that is on the CPU in eval mode.

    It is computed in double precision, so that rounding does not matter; networks that fail in it (tensors of a fixed
    type) or are too large to copy are run in their own precision.

    Raises:
        ModelError: if the network fails on the images.
    """
    inputs = _inputs(loaded)
    size = sum(parameter.numel() for parameter in loaded.module.parameters())
    values = _in_double(loaded, inputs) if size <= LARGEST_IN_DOUBLE else None
    precision = SINGLE if values is None else DOUBLE
    if values is None:
        module = loaded.module
        values = _run(lambda: _joined(loaded, module, _forward(loaded, module, inputs)), loaded)
    return Fingerprint.of(values, precision, VERSION, package_versions(loaded.loader))


def package_versions(loader: str) -> dict[str, str]:
    """The packages that determine what a model of a loader computes, and their versions."""
    known = find_loader(loader)
    return {name: _version(name) for name in ("torch", *(known.libraries if known else ()))}


def _version(package: str) -> str:
    """The release of a package, which may have another name where it is built for GPUs (onnxruntime-gpu)."""
    for name in (package, f"{package}-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "unknown"


def _in_double(loaded: LoadedModel, inputs: torch.Tensor) -> NDArray[np.float64] | None:
    """The outputs in double precision; None if the network fails in it, or casts to single precision internally."""
    import torch

    try:
        # A copy, because state that a network keeps between passes must not stay in double precision.
        module = copy.deepcopy(loaded.module).double()
        answers = _forward(loaded, module, inputs.double())
        alone = _forward(loaded, module, inputs[2:3].double())
        if answers.dtype != torch.float64 or not same_answers(_rows(answers)[2:3], _rows(alone), 1e-10):
            return None
        return _joined(loaded, module, answers)
    except Exception:  # networks may fail in any way on a dtype that they were not written for
        return None


def check_repeatable(loaded: LoadedModel) -> None:
    """Refuse a network whose output for an image changes between passes, or with the other images of its batch.

    Raises:
        ModelError: saying which of the two.
    """
    inputs = _inputs(loaded)
    module = loaded.module
    first = _run(lambda: _rows(_forward(loaded, module, inputs)), loaded)
    again = _run(lambda: _rows(_forward(loaded, module, inputs)), loaded)
    if not same_answers(first, again, REPEATABLE):
        raise not_repeatable(loaded.name, first, again)
    # The order of summation may depend on the batch size, so this tolerance is larger.
    alone = _run(lambda: _rows(_forward(loaded, module, inputs[2:3])), loaded)
    if not same_answers(first[2:3], alone, 100 * REPEATABLE):
        raise ModelError(
            f"{loaded.name} gives different outputs for an image depending on the other images of its batch",
            expected="an output that depends only on the image: eval mode, no batch statistics",
            found=f"outputs that differ by up to {_largest_difference(first[2:3], alone):.3g}",
            hint="module.eval(); in forward(), functional batch norm with training=self.training",
        )


def not_repeatable(name: str, one: NDArray[Any], other: NDArray[Any]) -> ModelError:
    """The error for a network with random outputs."""
    return ModelError(
        f"{name} gives different outputs for the same images each time",
        expected="the same output for an image each time: kept outputs must be reproducible",
        found=f"outputs that differ by up to {_largest_difference(one, other):.3g}",
        hint="in forward(), F.dropout(x, p, training=self.training); seed random numbers by the image",
    )


def _largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.shape != other.shape:
        return float("inf")
    difference = np.abs(one - other)
    return float("nan") if np.isnan(difference).all() else float(np.nanmax(difference))


def _inputs(loaded: LoadedModel) -> torch.Tensor:
    try:
        return fixed_inputs(loaded.preprocessing)
    except Exception as error:
        raise ModelError(
            f"{loaded.name}: the preprocessing function fails on an image of 256 x 256 pixels",
            expected="(3, height, width), the same size for every image",
            found=f"{type(error).__name__}: {error}",
        ) from error


def _forward(loaded: LoadedModel, module: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The logits; for a zero-shot model, whose head is not set yet, the image vectors."""
    import torch

    with torch.inference_mode():
        call: Any = module if loaded.texts is None else module.vectors
        answers: torch.Tensor = call(inputs)
    return answers


def _joined(loaded: LoadedModel, module: torch.nn.Module, answers: torch.Tensor) -> NDArray[np.float64]:
    """All outputs as one vector; for a zero-shot model, followed by the vectors of fixed texts."""
    parts = [_rows(answers)]
    if loaded.texts is not None:
        parts.append(_rows(loaded.texts.fixed_vectors(module)))
    return np.concatenate([part.ravel() for part in parts])


def _rows(answers: torch.Tensor) -> NDArray[np.float64]:
    import torch

    return answers.detach().to(torch.float64).numpy()


def _run(work: Callable[[], NDArray[np.float64]], loaded: LoadedModel) -> NDArray[np.float64]:
    try:
        return work()
    except QubastoreError:
        raise
    except Exception as error:
        raise ModelError(
            f"{loaded.name} fails on a batch of four images, though one blank image passes",
            found=in_one_line(error)[:300],
            hint="a network must take batches of any size: (n, 3, height, width)",
        ) from error
