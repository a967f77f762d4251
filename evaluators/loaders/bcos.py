"""`bcos:NAME`: the B-cos networks of the package bcos (Boehle et al., CVPR 2022 and TPAMI 2024), as it names them.

They see each colour and its inverse: six channels, which are made inside the network here, so that attacks work on
pixels as for all others.
"""

from __future__ import annotations

from typing import Any

from qubastore.errors import ModelError, did_you_mean
from qubastore.evaluators.loaders.checkpoints import fetched, load_into, revision_of
from qubastore.evaluators.loaders.extras import require
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> str | None:
    """The hash of a local checkpoint; else the name, as a release of the package has one file of weights for it."""
    require("bcos", spec)
    return revision_of(spec, spec.target, "the package's")


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Build the network and load its weights: from the package's releases, or from `checkpoint=`.

    Raises:
        ModelError: if the package has no such network, or its weights cannot be had.
    """
    require("bcos", spec)
    require("einops", spec)
    from bcos.models import pretrained

    from qubastore.evaluators.loaders.bcos_networks import WithInverse

    known = pretrained.list_available()
    if spec.target not in known:
        raise ModelError(
            f"bcos has no model {spec.target!r}", hint=did_you_mean(spec.target, known) or ", ".join(known)
        )
    build: Any = getattr(pretrained, spec.target)
    taken: str | None = None
    notes: tuple[str, ...] = ()
    if spec.options.get("checkpoint"):
        network = build(pretrained=False)
        taken, notes = load_into(network, spec)
    else:
        hint = f"copy them to this machine and type {spec},checkpoint=FILE.pth"
        network = fetched(lambda: build(pretrained=True, progress=False), str(spec), hint)
    *steps, last = network.transform.transforms.transforms
    inverted = type(last).__name__ == "AddInverse"
    prepare = Preprocessing(
        crop=_square(steps[1].size),
        resize=_square(steps[0].size),
        interpolation=steps[0].interpolation.value,
        mean=(0.0, 0.0, 0.0) if inverted else tuple(last.mean),
        std=(1.0, 1.0, 1.0) if inverted else tuple(last.std),
    )
    if pinned := spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(pinned, str(spec), prepare)
    module = WithInverse(network) if inverted else network
    described = {"bcos": spec.target}
    return LoadedModel(spec.display(), "bcos", module.eval(), prepare, described, notes=notes, taken=taken)


def _square(size: Any) -> tuple[int, int]:
    """The height and width of a torchvision transform, whose size is a number or a pair."""
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    return int(height), int(width)
