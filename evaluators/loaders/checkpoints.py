"""Checkpoints from local files and addresses: tensors only, never unpickled code."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore.errors import ModelError
from qubastore.models import ModelSpec

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

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
    checkpoint = spec.options.get("checkpoint")
    # An address ends in the hash of its file, which is checked when it is fetched.
    weights = published if checkpoint is None else checkpoint if is_address(checkpoint) else file_hash(checkpoint)
    chosen = (spec.options.get(option, "") for option in ("num_classes", "name", "output_type", "preprocess"))
    # Another release of a library may build or prepare what bears the same name in another way.
    package = {"open_clip": "open_clip_torch"}.get(spec.loader, spec.loader)
    return None if weights is None else "|".join([spec.loader, version(package), name, *chosen, weights])


def is_address(checkpoint: str) -> bool:
    """Whether a checkpoint is to be fetched from the web."""
    return checkpoint.startswith(("https://", "http://"))


def fetched(build: Callable[[], T], where: str, hint: str) -> T:
    """What `build` makes with weights that it fetches.

    Raises:
        ModelError: where they cannot be fetched.
    """
    # The hub's client tells of every retry; what a user needs is in the error below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return build()
    except Exception as error:
        raise ModelError(
            f"the weights of {where} could not be fetched",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300],
            hint=hint,
        ) from error


def local_file(checkpoint: str, where: str) -> str:
    """The path of a checkpoint; one that is an address is fetched once into torch's cache, and its hash checked.

    Raises:
        ModelError: where it cannot be fetched, or its name carries no hash.
    """
    if not is_address(checkpoint):
        return checkpoint
    import torch

    name = checkpoint.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if match is None:
        raise ModelError(
            f"{where}: the address {checkpoint} does not end in a hash",
            expected="NAME-HASH.pth, with the first 8 or more digits of the file's SHA-256",
            hint="fetch the file yourself and give its path",
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched(
            lambda: torch.hub.download_url_to_file(checkpoint, str(path), match[1], progress=False),
            where,
            f"fetch {checkpoint} and give its path as checkpoint=FILE",
        )
    elif not file_hash(str(path)).startswith(match[1]):
        raise ModelError(
            f"{where}: {path} is not the file that its name says",
            expected=f"a SHA-256 that begins with {match[1]}",
            hint=f"rm {path}",
        )
    return str(path)


def cached_commit(repository: str) -> str | None:
    """The commit of a hub repository that is in the local cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    reference = folder / "refs" / "main"
    return reference.read_text().strip() if reference.is_file() else None


def load_into(module: torch.nn.Module, path: str, where: str) -> None:
    """Load a checkpoint strictly: every tensor of the module, and no other.

    Takes safetensors, and PyTorch files with `weights_only`; looks inside a `state_dict` or `model` entry and drops a
    `module.` prefix.

    Raises:
        ModelError: where the file cannot be read as tensors, or a name or shape does not fit.
    """
    state = tensors(Path(local_file(path, where)), where)
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


def tensors(path: Path, where: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name.

    Raises:
        ModelError: where it is not there, or holds something else.
    """
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


def file_hash(path: str) -> str:
    """SHA-256 of a file.

    Raises:
        ModelError: where it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"checkpoint {path}: {error.strerror}", hint=f"ls {Path(path).parent}") from None
