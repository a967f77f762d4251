"""Checkpoints from local files and addresses, and what names them without loading them."""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qubastore.errors import ModelError, in_one_line
from qubastore.evaluators.loaders.fixed_images import package_versions
from qubastore.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


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
    if weights is None:
        return None
    chosen = (spec.options.get(option, "") for option in _DECIDING)
    # Another release of a library may build, prepare or compute what bears the same name in another way: then the model
    # is loaded once more, and its fingerprint compared with the one that is recorded.
    packages = (f"{package} {release}" for package, release in sorted(package_versions(spec.loader).items()))
    return "|".join([RULES, spec.loader, *packages, name, *chosen, weights])


_DECIDING = ("num_classes", "name", "output_type", "preprocess", "weights")
"""Options that decide which model a checkpoint makes."""
RULES = "2"
"""Raised when the same spec comes to mean another model, so that what it meant before is not taken for it: 2 takes the
EMA weights where a checkpoint holds both."""


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
            found=in_one_line(error)[:300],
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
            hint=f"rm {shlex.quote(str(path))}",
        )
    return str(path)


def cached_commit(repository: str) -> str | None:
    """The commit of a hub repository that is in the local cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    reference = folder / "refs" / "main"
    return reference.read_text().strip() if reference.is_file() else None


def load_into(module: torch.nn.Module, spec: ModelSpec) -> tuple[str | None, tuple[str, ...]]:
    """Load the checkpoint of a spec strictly: every tensor of the module, and no other.

    Returns:
        Which weights were taken where the file holds several (`raw` or `ema`), and what the user should know of it.

    Raises:
        ModelError: where the file cannot be read as tensors, or a name or shape does not fit.
    """
    from qubastore.evaluators.loaders.state_dicts import load_weights, read_weights

    path, where = spec.options["checkpoint"], str(spec)
    weights = read_weights(Path(local_file(path, where)), where, spec.options.get("weights"))
    load_weights(module, weights, path, where)
    if weights.taken is None:
        return None, ()
    other, text = ("raw", "the EMA ones") if weights.taken == "ema" else ("ema", "the raw ones")
    note = (
        f"{path} holds raw weights and EMA weights: {text} are taken, from {weights.entry};"
        f" weights={other} takes the others"
    )
    return weights.taken, (note,)


def file_hash(path: str) -> str:
    """SHA-256 of a file.

    Raises:
        ModelError: where it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"checkpoint {path}: {error.strerror}", hint=f"ls {shlex.quote(str(Path(path).parent))}"
        ) from None
