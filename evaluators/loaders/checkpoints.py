"""Checkpoints from local files: tensors only, never unpickled code."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError
from qubastore.models import ModelSpec

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model", "model_state_dict")


def revision_of(spec: ModelSpec, name: str, published: str | None) -> str | None:
    """What names a model's weights without loading them, or None where nothing does.

    Args:
        spec: The model.
        name: Its full name.
        published: What names the published weights; a local checkpoint's bytes take its place.

    Raises:
        ModelError: where there is no such checkpoint.
    """
    weights = _file_hash(Path(spec.options["checkpoint"])) if "checkpoint" in spec.options else published
    chosen = (spec.options.get(option, "") for option in ("num_classes", "name"))
    return None if weights is None else "|".join([spec.loader, name, *chosen, weights])


def load_into(module: torch.nn.Module, path: str, where: str) -> None:
    """Load a checkpoint strictly: every tensor of the module, and no other.

    Takes safetensors, and PyTorch files with `weights_only`; looks inside a `state_dict` or `model` entry and drops a
    `module.` prefix.

    Raises:
        ModelError: where the file cannot be read as tensors, or a name or shape does not fit.
    """
    state = _tensors(Path(path), where)
    own = module.state_dict()
    missing, strange = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or strange or misshapen:
        found = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
        found += [f"{len(strange)} unknown (first: {strange[0]})"] if strange else []
        if misshapen:
            name = misshapen[0]
            found.append(
                f"{len(misshapen)} of another shape (first: {name} is {tuple(state[name].shape)}, "
                f"not {tuple(own[name].shape)})"
            )
        raise ModelError(
            f"{where}: the checkpoint {path} does not fit the architecture",
            expected=f"the {len(own)} tensors of {type(module).__name__}",
            found="; ".join(found),
            hint="choose the architecture that it was trained with, or give num_classes=N",
        )
    module.load_state_dict(state, strict=True)


def _tensors(path: Path, where: str) -> dict[str, torch.Tensor]:
    import torch

    if not path.is_file():
        raise ModelError(f"{where}: there is no checkpoint {path}", hint=f"ls {path.parent}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"{where}: the checkpoint {path} cannot be read as tensors",
            expected="safetensors, or a PyTorch file that holds tensors only (it is never unpickled)",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300],
            hint='save it again with torch.save(model.state_dict(), "weights.pth")',
        ) from None
    while isinstance(state, dict) and (inner := next((k for k in _WRAPPERS if isinstance(state.get(k), dict)), None)):
        state = state[inner]
    tensors = isinstance(state, dict) and bool(state) and all(isinstance(v, torch.Tensor) for v in state.values())
    if not tensors:
        raise ModelError(f"{where}: the checkpoint {path} holds no tensors by name", expected="a state dict")
    prefix = "module."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"checkpoint {path}: {error.strerror}", hint=f"ls {path.parent}") from None
