"""What files that hold a network as a graph have in common: they say nothing about preprocessing, and fix shapes."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qubastore.errors import ModelError, UsageError
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


def readable(spec: ModelSpec) -> Path:
    """The file of a spec.

    Raises:
        ModelError: if there is none.
    """
    path = Path(spec.target).expanduser()
    if not path.is_file():
        raise ModelError(f"{spec.loader}:{spec.target}: no such file", hint=f"ls {shlex.quote(str(path.parent))}")
    return path


def prepared_as(spec: ModelSpec) -> Preprocessing:
    """The preprocessing that a spec gives.

    Raises:
        UsageError: if it gives none.
    """
    if "preprocess" not in spec.options:
        raise UsageError(
            f"{spec}: the file does not say how its images are prepared",
            expected="preprocess=SIZE/CROP/INTERPOLATION",
            hint=f"{spec},preprocess=224/0.875/bilinear",
        )
    return Preprocessing.pinned(spec.options["preprocess"], str(spec))


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Make torch.load read tensors and nothing else: torch.export falls back to unpickling any object."""
    import torch

    load = torch.load

    def load_tensors(*places: Any, **options: Any) -> Any:
        return load(*places, **{**options, "weights_only": True})

    torch.load = load_tensors
    try:
        yield
    finally:
        torch.load = load


def check_graph(
    where: str, shapes: Sequence[Sequence[int | None]], n_outputs: int, prepare: Preprocessing, dynamic: str
) -> None:
    """Refuse a graph that does not turn images, of any number at a time, into one tensor.

    Args:
        where: The model, for messages.
        shapes: The shape of each input; None where it is free.
        n_outputs: Number of outputs.
        prepare: The preprocessing, with the size of the images.
        dynamic: How to export a network for batches of any size.

    Raises:
        ModelError: saying what it takes.
    """
    shown = ", ".join("x".join("n" if size is None else str(size) for size in shape) for shape in shapes)
    if len(shapes) != 1:
        raise ModelError(f"{where} has {len(shapes)} inputs", expected="one, (n, 3, height, width)", found=shown)
    shape = shapes[0]
    if len(shape) != 4 or shape[1] not in (3, None):
        raise ModelError(f"{where} does not take images", expected="(n, 3, height, width)", found=shown)
    if shape[0] is not None:
        raise ModelError(f"{where} takes batches of {shape[0]} only", expected="batches of any size", hint=dynamic)
    if any(size not in (None, wanted) for size, wanted in zip(shape[2:], prepare.crop, strict=True)):
        raise ModelError(
            f"{where} takes images of another size than preprocess= gives",
            expected=shown,
            found=f"{prepare.crop[0]} x {prepare.crop[1]} pixels",
            hint=f"preprocess={shape[2]}/0.875/bilinear",
        )
    if n_outputs != 1:
        raise ModelError(f"{where} has {n_outputs} outputs", expected="one tensor, (n, n_classes) or (n, width)")
