"""`hub:OWNER/REPO:ENTRY[/REF]` and `hub:FOLDER:ENTRY`: entry points of torch.hub. It runs the repository's code.

An entry point returns a network, whose images are prepared as `preprocess=` says, or a network and its preprocessing,
as a factory of `python:` does.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.checkpoints import fetched
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile, check_module, read_preprocessing
from qubastore.evaluators.loaders.own_modules import fresh_modules
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> None:
    """None: the code may read any file, so only its weights identify the model, and planning loads them."""


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Call the entry point.

    Raises:
        UsageError: if the target names no entry point, or nothing says how to prepare images.
        ModelError: if the repository cannot be fetched, has no such entry point, or it fails.
    """
    import torch

    repository, entry, reference = _parts(spec)
    where = f"hub:{spec.target}"
    is_folder = repository.startswith((".", "/", "~")) or Path(repository).is_dir()
    place = str(Path(repository).expanduser()) if is_folder else repository + (f":{reference}" if reference else "")
    options: dict[str, Any] = {"source": "local"} if is_folder else {"trust_repo": True, "verbose": False}
    if is_folder and not (Path(place) / "hubconf.py").is_file():
        raise ModelError(f"{where}: {place} has no hubconf.py", expected="a folder as torch.hub.load takes it")

    if is_folder and reference:
        raise UsageError(f"{where}: a folder has no branches", expected=f"hub:{repository}:{entry}")
    # As in the paths of the modules that it imports.
    home = str(Path(place).resolve()) if is_folder else torch.hub.get_dir()

    def build() -> Any:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            hub: Any = torch.hub
            return hub.load(home if is_folder else place, entry, **options)

    hint = f"python {place}/hubconf.py" if is_folder else f"clone {repository} and type hub:FOLDER:{entry}"
    # torch keeps a repository in a folder of its own below the hub's.
    with fresh_modules(home, depth=2 if is_folder else 3):
        returned = fetched(build, where, hint)
    module, own = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    check_module(module, where)
    prepare = None if own is None else read_preprocessing(own, where)
    if pinned := spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(pinned, where, prepare if isinstance(prepare, Preprocessing) else None)
    if prepare is None:
        raise UsageError(
            f"{where} does not say how its images are prepared",
            expected="an entry point that returns (network, timm data config), or preprocess=SIZE/CROP/INTERPOLATION",
            hint=f"{spec},preprocess=224/0.875/bilinear",
        )
    return LoadedModel(spec.display(), "hub", module.eval(), prepare, {"hub": entry})


def _parts(spec: ModelSpec) -> tuple[str, str, str]:
    """Repository or folder, entry point, and branch, tag or commit."""
    repository, _, rest = spec.target.rpartition(":")
    entry, _, reference = rest.partition("/")
    if not repository or not entry.isidentifier():
        raise UsageError(
            f"{spec} does not name an entry point",
            expected="hub:OWNER/REPO:ENTRY, hub:OWNER/REPO:ENTRY/REF or hub:FOLDER:ENTRY",
            hint="hub:facebookresearch/dinov2:dinov2_vits14,preprocess=224/0.875/bicubic",
        )
    return repository, entry, reference
