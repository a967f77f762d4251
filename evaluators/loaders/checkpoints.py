"""Checkpoints from local files and URLs, and identifiers for them that do not need loading."""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qubastore.errors import ModelError, QubastoreError, in_one_line
from qubastore.evaluators.loaders.fixed_images import package_versions
from qubastore.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def revision_of(spec: ModelSpec, name: str, published: str | None) -> str | None:
    """An identifier of a model's weights that is known without loading them, or None if there is none.

    Args:
        spec: The model.
        name: Its full name.
        published: Identifier of the published weights; a local checkpoint is identified by its hash instead.

    Raises:
        ModelError: if the checkpoint cannot be read.
    """
    checkpoint = spec.options.get("checkpoint")
    # A URL ends in the hash of its file, which is checked after the download.
    weights = published if checkpoint is None else checkpoint if is_address(checkpoint) else file_hash(checkpoint)
    if weights is None:
        return None
    chosen = (spec.options.get(option, "") for option in _DECIDING)
    # Another release of a library may build, preprocess or compute a model of the same name differently. Then the model
    # is loaded again, and its fingerprint is compared with the stored one.
    packages = (f"{package} {release}" for package, release in sorted(package_versions(spec.loader).items()))
    return "|".join([RULES, spec.loader, *packages, name, *chosen, weights])


_DECIDING = ("num_classes", "name", "output_type", "preprocess", "weights")
"""Options that determine, with a checkpoint, the model."""
RULES = "3"
"""Incremented when a spec comes to mean a different model, or more is found out about one, so that it is not taken for
what was recorded before: since 2, a checkpoint with raw and EMA weights means the EMA weights; since 3, backbones
without a head give features, and classifiers that are convolutions are found."""

EMA_RULES = ("2", RULES)
"""The rules by which the EMA weights are meant."""


def is_address(checkpoint: str) -> bool:
    """Whether a checkpoint is a URL."""
    return checkpoint.startswith(("https://", "http://"))


def fetched(build: Callable[[], T], where: str, hint: str) -> T:
    """The result of `build`, which builds a network and may download its weights.

    Raises:
        ModelError: if that fails, for whatever reason.
    """
    # Hide the hub client's message about every retry; the error below has the reason.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return build()
    except QubastoreError:
        raise
    except Exception as error:
        raise ModelError(
            f"{where} could not be built, or its weights not be downloaded",
            found=in_one_line(error)[:300],
            hint=hint,
        ) from error


def local_file(checkpoint: str, where: str) -> str:
    """The local path of a checkpoint; a URL is downloaded once into torch's cache, and its hash is checked.

    Raises:
        ModelError: if it cannot be downloaded, its name has no hash, or the hash does not match.
    """
    if not is_address(checkpoint):
        return checkpoint
    import torch

    name = checkpoint.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if match is None:
        raise ModelError(
            f"{where}: the URL {checkpoint} does not end in a hash",
            expected="NAME-HASH.pth, with the first 8 or more digits of the file's SHA-256",
            hint="download the file and give its path",
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched(
            lambda: torch.hub.download_url_to_file(checkpoint, str(path), match[1], progress=False),
            where,
            f"download {checkpoint} and give its path as checkpoint=FILE",
        )
    elif not file_hash(str(path)).startswith(match[1]):
        raise ModelError(
            f"{where}: {path} does not have the hash in its name",
            expected=f"a SHA-256 that begins with {match[1]}",
            hint=f"rm {shlex.quote(str(path))}",
        )
    return str(path)


def cached_commit(repository: str, reference: str = "main") -> str | None:
    """The commit that a reference of a hub repository has in the local cache; None if it is not cached."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    file = folder / "refs" / reference
    if file.is_file():
        return file.read_text().strip()
    return reference if (folder / "snapshots" / reference).is_dir() else None


def load_into(
    module: torch.nn.Module, spec: ModelSpec, ignored: Sequence[str] = ()
) -> tuple[str | None, tuple[str, ...]]:
    """Load the checkpoint of a spec strictly: exactly the tensors of the module.

    Args:
        module: A network.
        spec: Its spec, with a checkpoint.
        ignored: Modules of the checkpoint that the network was built without: its head.

    Returns:
        Which weights were used if the file has both (`raw` or `ema`), else None; and notes for the user.

    Raises:
        ModelError: if the file cannot be read as tensors, or a name or shape does not match.
    """
    from qubastore.evaluators.loaders.state_dicts import load_weights, read_weights

    path, where = spec.options["checkpoint"], str(spec)
    weights = read_weights(Path(local_file(path, where)), where, spec.options.get("weights"))
    load_weights(module, weights, path, where, ignored)
    if weights.taken is None:
        return None, ()
    other, text = ("raw", "the EMA ones") if weights.taken == "ema" else ("ema", "the raw ones")
    note = (
        f"{path} has raw weights and EMA weights: {text} are used, from {weights.entry};"
        f" weights={other} selects the others"
    )
    return weights.taken, (note,)


def file_hash(path: str) -> str:
    """The SHA-256 of a file.

    Raises:
        ModelError: if it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"checkpoint {path}: {error.strerror}", hint=f"ls {shlex.quote(str(Path(path).parent))}"
        ) from None
