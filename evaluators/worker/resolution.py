"""Run networks at another input size: position embeddings are interpolated, other parts are not changed.

The model keeps its weights and therefore its identity; the size is part of a run's condition.
"""

from __future__ import annotations

import copy
import re
import sys
from typing import TYPE_CHECKING, Any

from qubastore.errors import ResolutionError

if TYPE_CHECKING:
    import torch


def at_resolution(module: torch.nn.Module, size: int, *, name: str, device: torch.device) -> torch.nn.Module:
    """The network for inputs of `size` x `size` pixels: a copy with its own position embeddings, in eval mode.

    timm's networks resize themselves (`set_input_size`); for torchvision's and open_clip's vision transformers, the
    position embeddings are interpolated bicubically. A blank image is run to check that the size is supported.

    Args:
        module: The network, in eval mode.
        size: Height and width of the input, pixels.
        name: Name of the network, for messages.
        device: Where the network is.

    Raises:
        ResolutionError: if the network cannot take that size.
    """
    import torch

    resized = copy.deepcopy(module)
    try:
        _resize(resized, size)
        with torch.inference_mode():
            resized(torch.zeros(1, 3, size, size, device=device))
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else ""
        if isinstance(error, torch.OutOfMemoryError) or _MACHINE_ERROR.search(text):
            raise
        raise ResolutionError(
            f"{name} cannot take inputs of {size} x {size} pixels", found=f"{type(error).__name__}: {text}"[:300]
        ) from error
    return resized.eval()


_MACHINE_ERROR = re.compile(r"alloc|memory|CUDA|cuDNN|cuBLAS|HIP", re.IGNORECASE)
"""Messages of errors that are not a property of the network: they may not recur, so they are not recorded."""


def _resize(module: Any, size: int) -> None:
    """Resize every submodule that has an input size; such a submodule handles its own children."""
    timm_model = _loaded("open_clip.timm_model", "TimmModel")
    clip_transformer = _loaded("open_clip.transformer", "VisionTransformer")
    vision_transformer = _loaded("torchvision.models", "VisionTransformer")
    if isinstance(module, timm_model):
        # Its own method calls its trunk with arguments that not every trunk takes.
        _resize(module.trunk, size)
        module.image_size = (size, size)
    elif hasattr(module, "set_input_size"):
        module.set_input_size(img_size=(size, size))
    elif isinstance(module, vision_transformer):
        grid = _grid(size, (module.patch_size, module.patch_size))
        module.encoder.pos_embedding = _interpolated(module.encoder.pos_embedding, 1, _square(module), grid)
        module.image_size = size
    elif isinstance(module, clip_transformer):
        grid = _grid(size, module.patch_size)
        table = _interpolated(module.positional_embedding[None], 1, module.grid_size, grid)
        module.positional_embedding, module.grid_size = _parameter(table[0]), grid
        module.image_size = (size, size)
    else:
        for part in module.children():
            _resize(part, size)


def _loaded(module: str, name: str) -> Any:
    """A class of a library; nothing is an instance of it unless the library has been imported already."""
    return getattr(sys.modules.get(module), name, ())


def _square(module: Any) -> tuple[int, int]:
    edge = module.image_size // module.patch_size
    return edge, edge


def _grid(size: int, patch: tuple[int, int]) -> tuple[int, int]:
    if size % patch[0] or size % patch[1]:
        raise ValueError(f"{size} is not a multiple of the patch size {patch[0]}")
    return size // patch[0], size // patch[1]


def _interpolated(table: torch.Tensor, n_extra: int, old: tuple[int, int], new: tuple[int, int]) -> Any:
    """Position embeddings (1, n_extra + old grid, width), interpolated to a new grid; extra tokens are not changed."""
    import torch

    if old == new:
        return _parameter(table)
    extra, grid = table[:, :n_extra], table[:, n_extra:]
    squares = grid.reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(squares, size=new, mode="bicubic", antialias=True, align_corners=False)
    flat = resized.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
    return _parameter(torch.cat([extra, flat], dim=1))


def _parameter(table: torch.Tensor) -> Any:
    import torch

    return torch.nn.Parameter(table.detach().clone(), requires_grad=False)
