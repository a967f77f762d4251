"""Read the weights of training checkpoints and load them into networks; no code in a checkpoint is ever run."""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError, in_one_line

if TYPE_CHECKING:
    import torch

RAW_ENTRIES = ("state_dict", "model", "model_state_dict", "module", "net", "network", "weights")
"""Entries of a checkpoint with raw weights, as different trainers name them."""
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
"""Entries of a checkpoint with the exponential moving average (EMA) of the weights."""
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
"""Parts that torch.compile, activation checkpointing and FSDP insert into names, at any depth."""
_COUNTERS = re.compile(r"(?:^|\.)(?:num_batches_tracked|n_averaged|total_ops|total_params)$")
"""Counters, which evaluation does not need."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint.

    Attributes:
        tensors: Tensors by name; all names may have a common prefix.
        taken: `raw` or `ema` if the checkpoint has both; None if there was no choice.
        entry: Entry of the file that holds them; empty for the file itself.
    """

    tensors: dict[str, torch.Tensor]
    taken: str | None = None
    entry: str = ""


def read_weights(path: Path, where: str, wanted: str | None = None) -> Weights:
    """The tensors of a checkpoint; if it has raw and EMA weights, the EMA weights unless `raw` is wanted.

    Args:
        path: safetensors, or a PyTorch file.
        where: The model, for messages.
        wanted: `ema`, `raw` or None.

    Raises:
        ModelError: if the file does not exist, is not a checkpoint, or does not have the wanted weights.
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
                f"{where}: the checkpoint {path} has no {kind} weights",
                expected=f"an entry such as {(RAW_ENTRIES if kind == 'raw' else EMA_ENTRIES)[0]}",
                found=", ".join(map(str, state)),
                hint="leave weights= out",
            )
        entry += f".{chosen}" if entry else str(chosen)
        both = raw is not None and ema is not None
        state = state[chosen]
        if both or wanted:
            # Entries inside are wrappers of the chosen kind, even if they are named like raw weights.
            return Weights(_innermost(state, path, where), kind, entry)
    if not isinstance(state, Mapping) or not state:
        raise _no_tensors(path, where, state)
    if wanted == "ema":
        raise ModelError(
            f"{where}: the checkpoint {path} has one set of weights, not marked as an average",
            expected=f"entries for both, such as {RAW_ENTRIES[0]} and {EMA_ENTRIES[0]}",
            hint="leave weights= out",
        )
    return Weights(dict(state), None, entry)


def load_weights(module: torch.nn.Module, weights: Weights, path: str, where: str, ignored: Sequence[str] = ()) -> None:
    """Load tensors into a network: exactly its own, except for counters.

    Args:
        module: The network.
        weights: The tensors.
        path: Their file, for messages.
        where: The model, for messages.
        ignored: Modules of the checkpoint that the network was built without.

    Raises:
        ModelError: if a name or shape does not match.
    """
    own = module.state_dict()
    left_out = tuple(f"{name}." for name in ignored)
    state = {name: value for name, value in fitted(weights.tensors, own).items() if not name.startswith(left_out)}
    missing = sorted(name for name in set(own) - set(state) if not _COUNTERS.search(name))
    unknown = sorted(name for name in set(state) - set(own) if not _COUNTERS.search(name))
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not (missing or unknown or misshapen):
        module.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
        return
    found = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
    found += [f"{len(unknown)} unknown (first: {unknown[0]})"] if unknown else []
    if misshapen:
        name = misshapen[0]
        shapes = f"{tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        found.append(f"{len(misshapen)} of a different shape (first: {name} is {shapes})")
    raise ModelError(
        f"{where}: the checkpoint {path} does not fit the architecture",
        expected=f"the {len(own)} tensors of {type(module).__name__}",
        found="; ".join(found),
        hint=_hint(own, state, missing, unknown, misshapen),
    )


def fitted(tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names: without parts that wrappers insert, and without a common prefix."""
    state = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    # torch.optim.swa_utils.AveragedModel has a counter in addition to the network that it wraps.
    state.pop("n_averaged", None)
    while state and not set(state) & set(own):
        heads = {name.partition(".")[0] for name in state}
        if len(heads) != 1 or any("." not in name for name in state):
            break
        prefix = f"{heads.pop()}."
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _read(path: Path, where: str) -> Any:
    """The contents of a checkpoint file.

    Raises:
        ModelError: if it does not exist, or has more than tensors and plain values.
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
                hint += "; a network saved as a whole must be loaded by the code that created it"
        raise ModelError(
            f"{where}: the checkpoint {path} cannot be read as tensors",
            expected="safetensors, or a PyTorch file of tensors and plain values (it is never unpickled)",
            found=found,
            hint=hint,
        ) from None


def _harmless() -> list[Any]:
    """Classes that trainers store with the weights and that are safe to create: options, paths, numbers."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    rebuild = np.zeros(1).__reduce__()[0]
    found: list[Any] = [argparse.Namespace, types.SimpleNamespace]
    found += [pathlib.PurePosixPath, pathlib.PosixPath, np.dtype, np.ndarray]
    # NumPy moved these between releases; a checkpoint has the name of the release that wrote it.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found += [(scalar, f"{module}.scalar"), (rebuild, f"{module}._reconstruct")]
    found += {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdg"}
    return found


def _is_state(value: Mapping[Any, Any]) -> bool:
    import torch

    return bool(value) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _first(state: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of the names whose entry is a mapping that is not empty."""
    return next((name for name in names if isinstance(state.get(name), Mapping) and state[name]), None)


def _innermost(state: Any, path: Path, where: str) -> dict[str, torch.Tensor]:
    """The tensors inside nested entries with known names."""
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
        f"{where}: the checkpoint {path} has no named tensors",
        expected=f"a state dict, or one in an entry such as {RAW_ENTRIES[0]} or {EMA_ENTRIES[0]}",
        found=(found or "nothing")[:300],
        hint='torch.save(model.state_dict(), "weights.pth")',
    )


def _hint(
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    missing: list[str],
    unknown: list[str],
    misshapen: list[str],
) -> str:
    """The likely cause: the number of classes, the head, or the architecture."""
    if misshapen and not missing and not unknown:
        rows = {(own[name].shape[:1], state[name].shape[:1]) for name in misshapen}
        if len(misshapen) <= 4 and len(rows) == 1 and own[misshapen[0]].shape[1:] == state[misshapen[0]].shape[1:]:
            return f"num_classes={state[misshapen[0]].shape[0]}: the checkpoint's classifier has this many classes"
        return "choose the architecture that it was trained with: the names are the same, but the sizes differ"
    if missing and not unknown and len(missing) <= 4:
        return "it has a network without a classifier: it was trained for another task"
    if not set(own) & set(state):
        return "choose the architecture that it was trained with: no tensor name matches this one"
    return f"choose the architecture that it was trained with: {len(set(own) & set(state))} of {len(own)} names match"
