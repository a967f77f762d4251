"""From a checkpoint as training leaves it to the tensors that a network takes; no code in it is ever run."""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError, in_one_line

if TYPE_CHECKING:
    import torch

RAW_ENTRIES = ("state_dict", "model", "model_state_dict", "module", "net", "network", "weights")
"""Entries of a checkpoint that hold the weights as training left them, by what trainers call them."""
EMA_ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "module_ema",
    "ema_model_state_dict",
    "model_state_dict_ema",
)
"""Entries that hold their exponential moving average."""
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
"""What torch.compile, activation checkpointing and FSDP put into names, at any depth."""
_COUNTERS = re.compile(r"(?:^|\.)(?:num_batches_tracked|n_averaged|total_ops|total_params)$")
"""Tensors that count, and that evaluation does not need."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint.

    Attributes:
        tensors: By name, as the network calls them or with a prefix that all share.
        taken: `raw` or `ema` where the checkpoint holds both; None where there was nothing to choose.
        entry: Where in the file they stand; empty for the file itself.
    """

    tensors: dict[str, torch.Tensor]
    taken: str | None = None
    entry: str = ""


def read_weights(path: Path, where: str, wanted: str | None = None) -> Weights:
    """The tensors of a checkpoint: of raw weights and their moving average (EMA), the average unless `raw` is wanted.

    Args:
        path: safetensors, or a PyTorch file.
        where: For messages.
        wanted: `ema`, `raw` or None.

    Raises:
        ModelError: where it is not there, holds something else, or lacks what is wanted.
    """
    state = _read(path, where)
    entry = ""
    while isinstance(state, Mapping) and not _is_state(state):
        raw, ema = (_first(state, names) for names in (RAW_ENTRIES, EMA_ENTRIES))
        if raw is None and ema is None:
            held = [name for name, value in state.items() if isinstance(value, Mapping) and _is_state(value)]
            if len(held) != 1:
                raise _no_tensors(path, where, state)
            raw = held[0]
        kind = wanted or ("raw" if ema is None else "ema")
        chosen = {"raw": raw, "ema": ema}[kind]
        if chosen is None:
            raise ModelError(
                f"{where}: the checkpoint {path} holds no {kind} weights",
                expected=f"an entry such as {(RAW_ENTRIES if kind == 'raw' else EMA_ENTRIES)[0]}",
                found=", ".join(map(str, state)),
                hint="leave weights= out",
            )
        entry += f".{chosen}" if entry else str(chosen)
        both = raw is not None and ema is not None
        state = state[chosen]
        if both or wanted:
            # What lies deeper is of the kind that was chosen: a wrapper around it is called as a raw entry is.
            return Weights(_innermost(state, path, where), kind, entry)
    if not isinstance(state, Mapping) or not state:
        raise _no_tensors(path, where, state)
    if wanted == "ema":
        raise ModelError(
            f"{where}: the checkpoint {path} holds one set of weights, and does not say that it is an average",
            expected=f"entries for both, such as {RAW_ENTRIES[0]} and {EMA_ENTRIES[0]}",
            hint="leave weights= out",
        )
    return Weights(dict(state), None, entry)


def load_weights(module: torch.nn.Module, weights: Weights, path: str, where: str) -> None:
    """Put tensors into a network: every tensor of it, and no other but counters.

    Raises:
        ModelError: where a name or shape does not fit.
    """
    own = module.state_dict()
    state = fitted(weights.tensors, own)
    missing = sorted(name for name in set(own) - set(state) if not _COUNTERS.search(name))
    strange = sorted(name for name in set(state) - set(own) if not _COUNTERS.search(name))
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not (missing or strange or misshapen):
        module.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
        return
    found = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
    found += [f"{len(strange)} unknown (first: {strange[0]})"] if strange else []
    if misshapen:
        name = misshapen[0]
        shapes = f"{tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        found.append(f"{len(misshapen)} of another shape (first: {name} is {shapes})")
    raise ModelError(
        f"{where}: the checkpoint {path} does not fit the architecture",
        expected=f"the {len(own)} tensors of {type(module).__name__}",
        found="; ".join(found),
        hint=_hint(own, state, missing, strange, misshapen),
    )


def fitted(tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors by the names that a network has: without what wrappers put into them, and without a common prefix."""
    state = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    # torch.optim.swa_utils.AveragedModel counts beside the network that it wraps.
    state.pop("n_averaged", None)
    while state and not set(state) & set(own):
        heads = {name.partition(".")[0] for name in state}
        if len(heads) != 1 or any("." not in name for name in state):
            break
        prefix = f"{heads.pop()}."
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _read(path: Path, where: str) -> Any:
    """What a file holds.

    Raises:
        ModelError: where it is not there, or holds more than tensors and plain values.
    """
    import torch

    if not path.is_file():
        hint = f"ls {shlex.quote(str(path.parent))}"
        raise ModelError(f"{where}: there is no checkpoint {path}", hint=hint)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        found = in_one_line(error)[:300]
        hint = 'save it again with torch.save(model.state_dict(), "weights.pth")'
        if named := re.search(
            r"GLOBAL ([\w.]+) was not an allowed|Unsupported (?:global|class)\W+(?:GLOBAL )?([\w.]+)", str(error)
        ):
            kind = named[1] or named[2]
            found = f"an object of {kind}, which would have to be unpickled"
            if not kind.startswith(("argparse", "numpy", "builtins")):
                hint += "; a whole network that was saved is rebuilt by the code that made it"
        raise ModelError(
            f"{where}: the checkpoint {path} cannot be read as tensors",
            expected="safetensors, or a PyTorch file of tensors and plain values (it is never unpickled)",
            found=found,
            hint=hint,
        ) from None


def _harmless() -> list[Any]:
    """Classes that trainers put beside the weights and that do nothing when they are made: options, paths, numbers."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    rebuild = np.zeros(1).__reduce__()[0]
    found: list[Any] = [argparse.Namespace, types.SimpleNamespace]
    found += [pathlib.PurePosixPath, pathlib.PosixPath, np.dtype, np.ndarray]
    # NumPy moved these between its releases; a checkpoint names them as the release that wrote it did.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found += [(scalar, f"{module}.scalar"), (rebuild, f"{module}._reconstruct")]
    found += {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdg"}
    return found


def _is_state(value: Mapping[Any, Any]) -> bool:
    import torch

    return bool(value) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _first(state: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of some entries that is there and holds entries of its own."""
    return next((name for name in names if isinstance(state.get(name), Mapping) and state[name]), None)


def _innermost(state: Any, path: Path, where: str) -> dict[str, torch.Tensor]:
    """The tensors inside wrappers, each an entry with a usual name."""
    while isinstance(state, Mapping) and not _is_state(state):
        name = _first(state, (*RAW_ENTRIES, *EMA_ENTRIES))
        if name is None:
            raise _no_tensors(path, where, state)
        state = state[name]
    if not isinstance(state, Mapping):
        raise _no_tensors(path, where, state)
    return dict(state)


def _no_tensors(path: Path, where: str, state: Any) -> ModelError:
    found = ", ".join(map(str, state)) if isinstance(state, Mapping) else f"a {type(state).__name__}"
    return ModelError(
        f"{where}: the checkpoint {path} holds no tensors by name",
        expected=f"a state dict, or one in an entry such as {RAW_ENTRIES[0]} or {EMA_ENTRIES[0]}",
        found=(found or "nothing")[:300],
        hint='torch.save(model.state_dict(), "weights.pth")',
    )


def _hint(
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    missing: list[str],
    strange: list[str],
    misshapen: list[str],
) -> str:
    """What is likely wrong: the number of classes, the head, or the architecture."""
    if misshapen and not missing and not strange:
        rows = {(own[name].shape[:1], state[name].shape[:1]) for name in misshapen}
        if len(misshapen) <= 4 and len(rows) == 1 and own[misshapen[0]].shape[1:] == state[misshapen[0]].shape[1:]:
            return f"num_classes={state[misshapen[0]].shape[0]}: the checkpoint's classifier has as many classes"
        return "choose the architecture that it was trained with: the names are the same, sizes differ"
    if missing and not strange and len(missing) <= 4:
        return "it holds a network without a classifier: it was trained for something else"
    if not set(own) & set(state):
        return "choose the architecture that it was trained with: no tensor has a name that this one knows"
    return f"choose the architecture that it was trained with: {len(set(own) & set(state))} of {len(own)} names agree"
